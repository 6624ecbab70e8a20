package inbox

import (
	"testing"

	"github.com/tidings-dev/tidings/bus/internal/sqldb/pgtest"
)

// TestOnPostgres runs the tests again whose outcome is the database's to decide: what is locked, rolled back, counted,
// sorted and found again. Each has a schema of its own. Not run again are those of routes, configuration, logs and of
// arithmetic, which end before a statement or don't depend on it; those that run on a Kafka or Redis; and the plan and
// the migration that are SQLite's own.
func TestOnPostgres(t *testing.T) {
	pgtest.Server(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		// Effects, and what is parked.
		{"ABatchHoldsAllThatIsNew", TestABatchHoldsAllThatIsNew},
		{"TheOrderWithinAKeyHoldsAcrossRoutes", TestTheOrderWithinAKeyHoldsAcrossRoutes},
		{"EventsAtFaultAreParkedAndTheRestGoesOn", TestEventsAtFaultAreParkedAndTheRestGoesOn},
		{"AParkedRowHoldsTheEventAsItCame", TestAParkedRowHoldsTheEventAsItCame},
		{"ARecordThatIsNoEventIsParkedWithItsBytes", TestARecordThatIsNoEventIsParkedWithItsBytes},
		{"DataThatCannotBeDecodedIsParked", TestDataThatCannotBeDecodedIsParked},
		{"AFaultOfTheStoreBringsTheDeliveryAgain", TestAFaultOfTheStoreBringsTheDeliveryAgain},
		{"APanicIsAnErrorWithItsStackInTheLog", TestAPanicIsAnErrorWithItsStackInTheLog},
		{"AHandlerThatIsCutShortLeavesNothing", TestAHandlerThatIsCutShortLeavesNothing},
		{"WhatNoDatabaseTakesIsParked", TestWhatNotEveryDatabaseTakesIsParked},
		{"AnyTakesWhatNoOtherRouteTakes", TestAnyTakesWhatNoOtherRouteTakes},
		// Poison.
		{"HalvingFindsThePoison", TestHalvingFindsThePoison},
		{"AHistorysLaterEventsWaitBehindAParkedOne", TestAHistorysLaterEventsWaitBehindAParkedOne},
		{"ALateEventIsAppliedWhileItsKeyIsParked", TestALateEventIsAppliedWhileItsKeyIsParked},
		{"MoreThanOneTransactionTakesFollow", TestMoreThanOneTransactionTakesFollow},
		{"ADeadEventOfAHistoryBlocksItsKey", TestADeadEventOfAHistoryBlocksItsKey},
		{"AProjectionsNewerVersionMakesUpForAParkedOne", TestAProjectionsNewerVersionMakesUpForAParkedOne},
		{"ATypeWithoutARouteMakesUpForNothing", TestATypeWithoutARouteMakesUpForNothing},
		{"ARetryBehindTheMarkGoesAway", TestARetryBehindTheMarkGoesAway},
		{"EventsWithoutAVersionKeepTheOrderOfTheirKey", TestEventsWithoutAVersionKeepTheOrderOfTheirKey},
		{"BackoffOutlivesARestart", TestBackoffOutlivesARestart},
		{"ARetryThatTheStoreFailsCountsNothing", TestARetryThatTheStoreFailsCountsNothing},
		{"ARetryThatIsCutShortLeavesNothing", TestARetryThatIsCutShortLeavesNothing},
		{"AParkedTypeWhoseRouteIsGone", TestAParkedTypeWhoseRouteIsGone},
		{"WhateverFailsTheEndIsRight", TestWhateverFailsTheEndIsRight},
		{"ABadReleaseDoesNotParkTheTopic", TestABadReleaseDoesNotParkTheTopic},
		{"TheRuleOfABadReleaseOutlivesARestart", TestTheRuleOfABadReleaseOutlivesARestart},
		{"ALogThatWasCutLosesNothingThatIsParked", TestALogThatWasCutLosesNothingThatIsParked},
		{"ADeadReactionOfALogThatWasCutIsKept", TestADeadReactionOfALogThatWasCutIsKept},
		{"ALateEventDoesNotOvertakeTheParkedOne", TestALateEventDoesNotOvertakeTheParkedOne},
		{"RowsThatAHandlerLeavesOpenBlockNothing", TestRowsThatAHandlerLeavesOpenBlockNothing},
		// What a person does.
		{"ParkingListsWhatIsParked", TestParkingListsWhatIsParked},
		{"APersonRetriesADeadEvent", TestAPersonRetriesADeadEvent},
		{"APersonRetriesWhatHadNoRoute", TestAPersonRetriesWhatHadNoRoute},
		{"ADiscardedVersionOfAHistoryIsAHole", TestADiscardedVersionOfAHistoryIsAHole},
		{"ADiscardedEventOfAProjectionIsGone", TestADiscardedEventOfAProjectionIsGone},
		{"ADeadReactionGoesBackToItsPlace", TestADeadReactionGoesBackToItsPlace},
		{"ADeadReactionWaitsForTheOneThatIsBeingSent", TestADeadReactionWaitsForTheOneThatIsBeingSent},
		{"ARunningInboxFindsWhatAPersonHasChanged", TestARunningInboxFindsWhatAPersonHasChanged},
		{"OpenParkingNeedsTheTables", TestOpenParkingNeedsTheTables},
		{"ADatabaseOfTheReleaseBeforeIsUpgraded", TestADatabaseOfTheReleaseBeforeIsUpgraded},
		// Marks.
		{"ARedeliveredEventIsDiscarded", TestARedeliveredEventIsDiscarded},
		{"AReplayFromTheStartChangesNothing", TestAReplayFromTheStartChangesNothing},
		{"AProjectionAppliesTheNewestAndCountsTheGap", TestAProjectionAppliesTheNewestAndCountsTheGap},
		{"EventsWithoutAVersionAreMarkedBySourceAndID", TestEventsWithoutAVersionAreMarkedBySourceAndID},
		{"AnIgnoredTypeCountsAsDone", TestAnIgnoredTypeCountsAsDone},
		{"EventsOfOtherSourcesArePassedOver", TestEventsOfOtherSourcesArePassedOver},
		{"NumbersOfOtherSourcesAreNotFollowed", TestNumbersOfOtherSourcesAreNotFollowed},
		{"UnknownTypesAreParkedWhereAsked", TestUnknownTypesAreParkedWhereAsked},
		{"AVersionBeyondReasonIsParked", TestAVersionBeyondReasonIsParked},
		{"ManyKeysInOneDelivery", TestManyKeysInOneDelivery},
		{"RowsThatMoveMeanwhileRollTheDeliveryBack", TestRowsThatMoveMeanwhileRollTheDeliveryBack},
		{"ASourcesNumberIsRememberedOnlyOnceItIsCommitted", TestASourcesNumberIsRememberedOnlyOnceItIsCommitted},
		{"WhateverHappensEffectsAreRight", TestWhateverHappensEffectsAreRight},
		// Positions.
		{"ADeliveryStoresEffectsMarksAndPositionsTogether", TestADeliveryStoresEffectsMarksAndPositionsTogether},
		{"AFailedDeliveryStoresNothing", TestAFailedDeliveryStoresNothing},
		{"EventsBelowTheStoredPositionAreLeftOut", TestEventsBelowTheStoredPositionAreLeftOut},
		{"APositionBehindTheDeliveryIsReadAgain", TestAPositionBehindTheDeliveryIsReadAgain},
		{"AnotherLogIsReadAgain", TestAnotherLogIsReadAgain},
		{"ABusWithoutALogNeedsNoPositions", TestABusWithoutALogNeedsNoPositions},
		{"Resume", TestResume},
		{"TheStartOfANewGroupIsFixedForAllPartitionsAtOnce", TestTheStartOfANewGroupIsFixedForAllPartitionsAtOnce},
		{"GroupsShareADatabaseAndNothingElse", TestGroupsShareADatabaseAndNothingElse},
		{"APositionThatMovesWhileTheBrokerIsAskedIsNotGivenUp", TestAPositionThatMovesWhileTheBrokerIsAskedIsNotGivenUp},
		{"ARestoredOrEmptiedDatabaseGetsWhatItLacks", TestARestoredOrEmptiedDatabaseGetsWhatItLacks},
		// Histories, and what waits.
		{"AHistoryHoldsLaterEventsBack", TestAHistoryHoldsLaterEventsBack},
		{"EventsOutOfOrderInOneDeliveryAreSorted", TestEventsOutOfOrderInOneDeliveryAreSorted},
		{"AWaitingEventThatIsRedeliveredIsDiscarded", TestAWaitingEventThatIsRedeliveredIsDiscarded},
		{"AHistoryRecordsAHoleAfterItsWait", TestAHistoryRecordsAHoleAfterItsWait},
		{"ALateEventShrinksItsHole", TestALateEventShrinksItsHole},
		{"WaitingOutlivesARestart", TestWaitingOutlivesARestart},
		{"AReleaseThatFailsIsTriedAgain", TestAReleaseThatFailsIsTriedAgain},
		{"AnEventThatWaitedCanBeParked", TestAnEventThatWaitedCanBeParked},
		{"HolesAreThoseOfTheKey", TestHolesAreThoseOfTheKey},
		// Twins.
		{"EachReaderTakesTheBestTwinThatItCanRead", TestEachReaderTakesTheBestTwinThatItCanRead},
		{"AnotherReleaseBetweenTheTwins", TestAnotherReleaseBetweenTheTwins},
		{"WhatANewerReleaseHasParkedWaitsForIt", TestWhatANewerReleaseHasParkedWaitsForIt},
		{"WhatAnOlderReleaseHasParkedIsConverted", TestWhatAnOlderReleaseHasParkedIsConverted},
		{"WhatANewerReleaseHoldsBackWaitsForIt", TestWhatANewerReleaseHoldsBackWaitsForIt},
		{"WhatWaitsForAnotherReleaseIsNoBadRelease", TestWhatWaitsForAnotherReleaseIsNoBadRelease},
		{"AReactionBetweenTheTwins", TestAReactionBetweenTheTwins},
		{"AReactionThatWaitsForAnotherReleaseKeepsItsPlace", TestAReactionThatWaitsForAnotherReleaseKeepsItsPlace},
		{"ARebuildIsDueForIgnoredTwinsOnly", TestARebuildIsDueForIgnoredTwinsOnly},
		{"WhatAnUpcasterCannotConvertIsParked", TestWhatAnUpcasterCannotConvertIsParked},
		{"WhateverReleasesRunEachVersionIsTakenOnce", TestWhateverReleasesRunEachVersionIsTakenOnce},
		{"AReplayOfMixedVersionsMakesTheSameProjection", TestAReplayOfMixedVersionsMakesTheSameProjection},
		// Streams.
		{"NumbersThatHaveNotComeAreMissed", TestNumbersThatHaveNotComeAreMissed},
		{"ARangeIsSplitShortenedAndClosed", TestARangeIsSplitShortenedAndClosed},
		{"ANewNumberingIsForTheGroupFromItsStart", TestANewNumberingIsForTheGroupFromItsStart},
		{"TheSumOfWhatWasMissedNeverOverflows", TestTheSumOfWhatWasMissedNeverOverflows},
		{"TheOldestRangesBecomeACount", TestTheOldestRangesBecomeACount},
		{"AStreamThatMovesMeanwhileRollsTheDeliveryBack", TestAStreamThatMovesMeanwhileRollsTheDeliveryBack},
		{"WhateverHappensWhatWasMissedIsCountedExactly", TestWhateverHappensWhatWasMissedIsCountedExactly},
		{"ReplicasOnABusWithoutALogMissTogetherWhatNeitherHeard", TestReplicasOnABusWithoutALogMissTogetherWhatNeitherHeard},
		// The queue.
		{"EachStateIsTrackedInItsTransaction", TestEachStateIsTrackedInItsTransaction},
		{"AReactionWhoseAttemptsAreSpentIsDead", TestAReactionWhoseAttemptsAreSpentIsDead},
		{"AKeysLaterReactionsWaitBehindOneThatIsRetried", TestAKeysLaterReactionsWaitBehindOneThatIsRetried},
		{"OldEventsAreSkipped", TestOldEventsAreSkipped},
		{"AKilledTryIsRepeatedOnceItsLeaseHasRunOut", TestAKilledTryIsRepeatedOnceItsLeaseHasRunOut},
		{"OneWhoLostItsLeaseLeavesTheRowToTheOther", TestOneWhoLostItsLeaseLeavesTheRowToTheOther},
		{"AnErrorOfTheTrackerUndoesTheChange", TestAnErrorOfTheTrackerUndoesTheChange},
		{"EffectAndReactionOfOneTypeAreStoredTogether", TestEffectAndReactionOfOneTypeAreStoredTogether},
		{"RunPerformsManyAtOnceAndEachKeyInOrder", TestRunPerformsManyAtOnceAndEachKeyInOrder},
		// Reading, and running.
		{"AwaitSeesTheCommitOfAnotherReplica", TestAwaitSeesTheCommitOfAnotherReplica},
		{"AwaitTellsOfParkedVersions", TestAwaitTellsOfParkedVersions},
		{"AHistoryHasAppliedAVersionOnlyItself", TestAHistoryHasAppliedAVersionOnlyItself},
		{"AwaitReturnsAFaultOfTheDatabase", TestAwaitReturnsAFaultOfTheDatabase},
		{"TheGroupIsTheDatabases", TestTheGroupIsTheDatabases},
		{"ADatabaseOfANewerProgramIsRefused", TestADatabaseOfANewerProgramIsRefused},
		{"RunTakesEventsIn", TestRunTakesEventsIn},
		{"ReplicasShareADatabaseAndApplyOnce", TestReplicasShareADatabaseAndApplyOnce},
	} {
		t.Run(test.name, test.run)
	}
}

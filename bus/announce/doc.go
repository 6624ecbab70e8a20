// Package announce tells on the bus itself who publishes and who reads which types of events, so that whoever wants to
// stop publishing a type can see whether anybody still reads it.
//
// Each service runs [Run] beside what it does, and says what it publishes or reads: at its start, and again at each
// interval. [List] gives the last word of each:
//
//	go announce.Run(ctx, own, "user_activity", []announce.Announcement{{
//		Role: announce.Reads, Name: "directory", Group: "directory.3f2a9c1e", Types: in.Types(),
//	}}, announce.Config{Release: version})
//	…
//	all, err := announce.List(ctx, b, "user_activity", 0)
//
// # The topic
//
// Announcements go to a topic of their own, named by [Topic]: the events' with "_readers" behind. So no reader of events
// meets one, and whoever may read or write the one topic need not be let into the other. An announcement is an event
// with the type [bus.TypeAnnouncement], no version, and data in JSON, for who reads it with other tools. Its key is
// role, name and group, so that the words of one keep their order, and a log that is compacted keeps the last of each.
//
// The topic is made by the bus as any other. Whoever makes it beforehand may give it one partition, and retention or
// compaction: announcements are renewed each hour, so that a day of them is enough to know who is there, and what is
// kept longer tells of who was.
//
// # What it can't tell
//
// Silence is no proof: who is down, or may not write to the topic, reads all the same once it is back. So [List] leaves
// nobody out, and says since when each is silent. Replicas of one release share a group and speak with one
// voice; while two releases run side by side both are heard, the older until it is silent. And whoever may write to the topic can say anything.
//
// # A connection of its own
//
// Give Run a bus that nothing else publishes on. An event that the broker refuses can take the producer of its
// connection with it, and a topic that is not kept for ever changes what the connection promises; neither is to happen to
// the events because of an announcement.
package announce

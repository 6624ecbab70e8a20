package bus_test

import (
	"strconv"

	"github.com/google/go-cmp/cmp/cmpopts"
)

// equateEmpty takes nil and empty data for the same: on the wire they are.
var equateEmpty = cmpopts.EquateEmpty()

func decimal(v uint64) string { return strconv.FormatUint(v, 10) }

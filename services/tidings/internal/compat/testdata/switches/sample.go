// Package sample has switches over enums and oneofs as somebody could write them. Those marked bad lack a default.
package sample

import (
	"slices"

	auditv1 "github.com/tidings-dev/tidings/gen/audit/v1"
	mailerv1 "github.com/tidings-dev/tidings/gen/mailer/v1"
	v2 "github.com/tidings-dev/tidings/gen/users/events/v2"
)

type order = v2.NameOrder

const sent = mailerv1.Message_STATE_SENT

func stateOf(m *mailerv1.Message) mailerv1.Message_State { return m.GetState() }

func enums(m *mailerv1.Message, o order, all []mailerv1.Message_State) string {
	switch m.GetState() { // bad
	case mailerv1.Message_STATE_SENT:
		return "sent"
	}
	switch m.GetState() { // good
	case mailerv1.Message_STATE_SENT:
		return "sent"
	default:
	}
	switch s := stateOf(m); s { // bad
	case 3:
		return "by number"
	}
	switch o { // bad
	case v2.NameOrder_NAME_ORDER_FAMILY_FIRST:
	}
	switch int32(m.State) { // bad
	case int32(sent):
	}
	switch slices.Max(all) { // bad
	case sent:
	}
	switch { // an if in other words, over no enum
	case o == v2.NameOrder_NAME_ORDER_FAMILY_FIRST:
	}
	switch m.GetTo() { // a string
	case "":
	}
	return ""
}

func oneofs(e *auditv1.Entry, any any) {
	switch k := e.GetKind().(type) { // bad
	case *auditv1.Entry_Event:
		_ = k
	}
	switch e.Kind.(type) { // good
	case *auditv1.Entry_Event, *auditv1.Entry_Hole:
	default:
	}
	switch any.(type) { // bad
	case *auditv1.Entry_Hole:
	}
	switch any.(type) { // of messages, not of a oneof
	case *auditv1.Hole:
	}
	func() {
		switch e.GetKind().(type) { // bad
		case nil:
		}
	}()
}

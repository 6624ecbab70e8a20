package schemagate

import "strings"

// What to do instead of what a rule forbids. A rule that isn't here is advised by what its name begins with, and then by
// adviceDefault.
const (
	adviceNewField = "put the field back as it was, and add another with the next free number; mark the old one deprecated, say in " +
		"its comment what to read instead, and go on filling it in as long as anybody reads it"
	adviceNewPackage = "put it back as it was. A change that is no addition is a package of its own: copy the file to the next version " +
		"(users/events/v2), change it there, and publish both until nobody reads the old one: see \"A breaking change\" in proto/README.md"
	adviceNewRPC = "leave the RPC as it is for the clients that call it, and add another beside it, with a request and response of its own"
	adviceOption = "put the option back as it was: code that was generated from it is in use. Which options Go gets stands in buf.gen.yaml"

	adviceComment = "say in a comment right above what it means: units, limits, what absent and empty mean, and for an RPC its errors. Who " +
		"reads it has nothing else"
	adviceDefault = "put it back as it was released; what was released is added to and never changed. Where nothing can be added, the change " +
		"is a package of its own, published beside the old one: see \"A breaking change\" in proto/README.md"
	adviceLint = "follow the rule: https://buf.build/docs/lint/rules has it with examples, and the files beside this one follow it"
)

// advice is what to do instead, for a rule of buf.
func advice(rule string) string {
	if text, ok := adviceOf(rule); ok {
		return text
	}
	switch {
	case strings.HasPrefix(rule, "COMMENT_"):
		return adviceComment
	case strings.HasPrefix(rule, "FILE_SAME_"), strings.HasSuffix(rule, "_UTF8_VALIDATION"), strings.HasSuffix(rule, "_JSON_FORMAT"),
		strings.Contains(rule, "_NO_REMOVE_"):
		return adviceOption
	case strings.HasPrefix(rule, "RPC_") && (strings.Contains(rule, "_SAME_") || strings.HasSuffix(rule, "_NO_DELETE")):
		return adviceNewRPC
	case strings.Contains(rule, "_NO_DELETE"), strings.Contains(rule, "_SAME_"), strings.Contains(rule, "_COMPATIBLE_"):
		return adviceDefault
	}
	return adviceLint
}

// adviceOf is advice for the rules that have their own.
func adviceOf(rule string) (text string, ok bool) {
	switch rule {
	case "COMPILE":
		text = "mend what the compiler says; nothing else was looked at"
	case "FIELD_NO_DELETE":
		text = "put the field back, with its number and type: events that have it are kept for ever. To be rid of it mark it deprecated; " +
			"to number or name it otherwise add a new one beside it"
	case "FIELD_SAME_TYPE", "FIELD_WIRE_COMPATIBLE_TYPE", "FIELD_WIRE_JSON_COMPATIBLE_TYPE", "FIELD_SAME_CARDINALITY", "FIELD_SAME_ONEOF":
		text = adviceNewField
	case "FIELD_SAME_NAME", "FIELD_SAME_JSON_NAME":
		text = "give the number its old name back: code and JSON know the field by it, and the number means what it meant. What is new gets " +
			"the next free number; a name that is only unhappy is explained in its comment"
	case "FIELD_SAME_NUMBER":
		text = "give the field its old number back: events carry the number and no name. What is new gets the next free one"
	case "FIELD_SAME_DEFAULT", "FIELD_SAME_JSTYPE", "FIELD_SAME_CPP_STRING_TYPE":
		text = "put the field's option back as it was"
	case "ENUM_VALUE_NO_DELETE", "ENUM_VALUE_SAME_NAME", "ENUM_VALUE_SAME_NUMBER":
		text = "put the value back, with its name and number: events that have it are kept for ever. One that is not used any more is " +
			"marked deprecated; what is new gets the next free number"
	case "MESSAGE_NO_DELETE", "ENUM_NO_DELETE", "ONEOF_NO_DELETE":
		text = "put it back: a message's full name is the type of its events, and those are kept for ever. Mark it deprecated, and say in its " +
			"comment what is used instead. A new name is a new message beside it"
	case "FILE_NO_DELETE", "FILE_SAME_PACKAGE", "PACKAGE_NO_DELETE", "FILE_SAME_SYNTAX":
		text = adviceNewPackage
	case "SERVICE_NO_DELETE", "RPC_NO_DELETE":
		text = "put it back: there are clients that call it. Mark it deprecated, and say in its comment what to call instead"
	case "RESERVED_MESSAGE_NO_DELETE", "RESERVED_ENUM_NO_DELETE":
		text = "put the reserved numbers and names back: they were in use once, and what still has them would be read as something else"
	case "EXTENSION_NO_DELETE", "EXTENSION_MESSAGE_NO_DELETE":
		text = "put the extension back; what carries it is kept for ever"
	case "ENUM_ZERO_VALUE_SUFFIX", "ENUM_FIRST_VALUE_ZERO":
		text = "begin with …_UNSPECIFIED = 0: it is what every event has in which nobody said"
	case "PACKAGE_VERSION_SUFFIX", "PACKAGE_DIRECTORY_MATCH":
		text = "end the package's name in its version (loyalty.events.v1), and put the file into the folder of that name (proto/loyalty/events/v1)"
	}
	return text, text != ""
}

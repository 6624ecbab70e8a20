package schemagate

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

const (
	eventsV1  = "proto/users/events/v1/events.proto"
	eventsV2  = "proto/users/events/v2/events.proto"
	goldenV1  = "proto/corpus/users.events.v1.UserCreated/as-of-0.1.0"
	goldenOne = goldenV1 + "/payload.binpb"
)

// replaced replaces the one place of a file where before stands.
func replaced(file, before, after string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		edit(t, filepath.Join(dir, file), func(b []byte) []byte {
			if n := bytes.Count(b, []byte(before)); n != 1 {
				t.Fatalf("%s has %q %d times", file, before, n)
			}
			return bytes.Replace(b, []byte(before), []byte(after), 1)
		})
	}
}

func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(b), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func removed(name string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func created(name string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func appended(file, text string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		edit(t, filepath.Join(dir, file), func(b []byte) []byte { return append(b, text...) })
	}
}

// movedPackage makes users.events.v1 the next version, in the place of a version beside it.
func movedPackage(t *testing.T, dir string) {
	t.Helper()
	if err := os.Rename(filepath.Join(dir, "proto/users/events/v1"), filepath.Join(dir, "proto/users/events/v9")); err != nil {
		t.Fatal(err)
	}
	edit(t, filepath.Join(dir, "proto/users/events/v9/events.proto"), func(b []byte) []byte {
		return bytes.Replace(b, []byte("package users.events.v1;"), []byte("package users.events.v9;"), 1)
	})
}

// changes are what nobody may do, each with the rules that refuse it, what is broken where, and what to do instead.
var changes = []struct {
	name   string
	change func(t *testing.T, dir string)
	rules  []string // all of them, sorted
	want   []string // what the first one of them says
}{
	{"a deleted field", replaced(eventsV1, "  string name = 3;\n", ""), []string{"FIELD_NO_DELETE"},
		[]string{eventsV1 + ":", `field "3" with name "name"`, "(released in 0.1.0)", "put the field back"}},
	{"a renumbered field", replaced(eventsV1, "string email = 2;", "string email = 12;"), []string{"FIELD_NO_DELETE"},
		[]string{eventsV1 + ":", `field "2" with name "email"`, "(released in 0.1.0)", "put the field back, with its number", "add a new one beside it"}},
	{"a changed type", replaced(eventsV1, "string email = 2;", "uint32 email = 2;"), []string{"FIELD_SAME_TYPE"},
		[]string{eventsV1 + ":", `from "string" to "uint32"`, "(released in 0.1.0)", "add another with the next free number"}},
	{"a reused name", replaced(eventsV1, "string name = 3;", "string name = 30;\n\n  reserved 3;"), []string{"FIELD_NO_DELETE"},
		[]string{eventsV1 + ":", `field "3" with name "name"`, "put the field back"}},
	{"another name", replaced(eventsV1, "string email = 2;", "string mail = 2;"), []string{"FIELD_SAME_JSON_NAME", "FIELD_SAME_NAME"},
		[]string{eventsV1 + ":", `from "email" to "mail"`, "(released in 0.1.0)", "give the number its old name back"}},
	{"a swapped pair of numbers", func(t *testing.T, dir string) {
		replaced(eventsV1, "string email = 2;", "string email = 3;")(t, dir)
		replaced(eventsV1, "string name = 3;", "string name = 2;")(t, dir)
	}, []string{"FIELD_SAME_JSON_NAME", "FIELD_SAME_NAME"}, []string{`"name"`, "give the number its old name back"}},
	{"a removed enum value", replaced(eventsV2, "  // The family name first: \"Nagy Ilona\".\n  NAME_ORDER_FAMILY_FIRST = 2;\n", ""), []string{"ENUM_VALUE_NO_DELETE"},
		[]string{eventsV2 + ":", `enum value "2"`, "(released in ", "put the value back"}},
	{"a moved package", movedPackage, []string{"FILE_NO_DELETE"},
		[]string{eventsV1 + ": FILE_NO_DELETE", "(released in 0.1.0)", "users/events/v2", "publish both", "proto/README.md"}},
	{"another package", replaced(eventsV1, "package users.events.v1;", "package users.events.v9;"), []string{"FILE_SAME_PACKAGE", "PACKAGE_DIRECTORY_MATCH"},
		[]string{eventsV1 + ":", "publish both until nobody reads the old one"}},
	{"a deleted message", replaced(eventsV2, "message UserDeleted {", "message UserGone {"), []string{"MESSAGE_NO_DELETE"},
		[]string{`message "UserDeleted"`, "(released in ", "put it back"}},
	{"another name of an RPC", replaced("proto/audit/v1/audit_service.proto", "rpc ListUserEvents(", "rpc ListTheEvents("), []string{"RPC_NO_DELETE", "RPC_REQUEST_STANDARD_NAME", "RPC_RESPONSE_STANDARD_NAME"},
		[]string{"proto/audit/v1/audit_service.proto:", "ListUserEvents", "(released in 0.1.0)", "clients that call it"}},
	{"a removed golden event", removed(goldenV1), []string{"FROZEN_GONE"},
		[]string{goldenV1 + "/", "is gone", "(released in ", "put it back", "proto/released/v"}},
	{"a removed golden file", removed(goldenOne), []string{"CORPUS_BROKEN", "FROZEN_GONE"}, []string{goldenOne, "is gone", "put it back"}},
	{"a changed golden byte", func(t *testing.T, dir string) {
		edit(t, filepath.Join(dir, goldenOne), func(b []byte) []byte { return bytes.Replace(b, []byte("Ada "), []byte("Ida "), 1) })
	}, []string{"CORPUS_BROKEN", "FROZEN_CHANGED"}, []string{goldenOne, "is not what was released", "(released in ", "put it back"}},
	{"a changed meaning", replaced(goldenV1+"/event.json", "Ada Augusta Lovelace", "Somebody Else"), []string{"CORPUS_BROKEN", "FROZEN_CHANGED"}, []string{"is not what was released"}},
	{"an editor's copy in the corpus", created(goldenV1 + "/event.json~"), []string{"CORPUS_STRAY"}, []string{goldenV1 + "/event.json~", "remove it"}},
	{"a file beside the cases", created("proto/corpus/users.events.v1.UserCreated/event.json"), []string{"CORPUS_STRAY"}, []string{"UserCreated/event.json: CORPUS_STRAY"}},
	{"a removed release", removed("proto/released/v0.1.0.binpb"), []string{"FROZEN_GONE"}, []string{"proto/released/v0.1.0.binpb", "is gone"}},
	{"a removed image of the newest release", removed("proto/released/v" + releasedAs + ".binpb"), []string{"FROZEN_GONE"}, []string{"proto/released/v" + releasedAs + ".binpb", "is gone"}},
	{"a removed list of the newest release", removed("proto/released/v" + releasedAs + ".sums"), []string{"FROZEN_GONE"}, []string{"proto/released/v" + releasedAs + ".sums", "is gone"}},
	{"a new field without a golden event", replaced(eventsV1, "  string name = 3;\n", "  string name = 3;\n\n  // What friends say.\n  optional string called_by = 1010;\n"), []string{"CORPUS_LACKS"},
		[]string{eventsV1 + ":", "has set: user.called_by", "go run ./services/tidings schema record users.events.v1.UserCreated"}},
	{"a new enum value without one", replaced(eventsV2, "  NAME_ORDER_FAMILY_FIRST = 2;\n", "  NAME_ORDER_FAMILY_FIRST = 2;\n\n  // Once so, once so.\n  NAME_ORDER_BOTH = 1003;\n"), []string{"CORPUS_LACKS"},
		[]string{eventsV2 + ":", "user.name.order=NAME_ORDER_BOTH", "schema record users.events.v2.UserCreated"}},
	{"a new event type without one", appended(eventsV1, "\n// UserSeen says that a user was there.\nmessage UserSeen {\n  // Who.\n  string id = 1;\n}\n"), []string{"CORPUS_LACKS"},
		[]string{eventsV1 + ":", "no golden event is a users.events.v1.UserSeen", "go run ./services/tidings schema record users.events.v1.UserSeen"}},
	{"an event within another", appended(eventsV1, "\n// UserMoved says where a user went.\nmessage UserMoved {\n  // What it was.\n  UserDeleted deleted = 1;\n}\n"), []string{"CORPUS_LACKS", "EVENT_EMBEDDED"},
		[]string{eventsV1 + ":", "EVENT_EMBEDDED: users.events.v1.UserDeleted is an event type", "users.events.v1.UserMoved.deleted", "(released in 0.1.0)", "a message of its own"}},
	{"a field without a comment", replaced(eventsV1, "  string name = 3;\n", "  string name = 3;\n  string called_by = 1010;\n"), []string{"COMMENT_FIELD", "CORPUS_LACKS"},
		[]string{"called_by", "say in a comment"}},
	{"a weaker category", replaced("buf.yaml", "    - FILE\n", "    - WIRE\n"), []string{"RULES_CHANGED"}, []string{"buf.yaml:", "something else", "put it back"}},
	{"an excepted rule of breaking", appended("buf.yaml", "  except: [FIELD_NO_DELETE]\n"), []string{"RULES_CHANGED"}, []string{"buf.yaml:", "put it back"}},
	{"an ignored file", appended("buf.yaml", "  # Hidden:\r  ignore: [proto/users]\n"), []string{"RULES_CHANGED"}, []string{"buf.yaml:"}},
	{"an excepted rule of lint", replaced("buf.yaml", "lint:\n", "lint:\n  except: [COMMENT_FIELD]\n"), []string{"RULES_CHANGED"}, []string{"buf.yaml:6: "}},
	{"no rules of comments", replaced("buf.yaml", "    - COMMENTS\n", ""), []string{"RULES_CHANGED"}, []string{"buf.yaml:"}},
	{"no rules of breaking", replaced("buf.yaml", "breaking:\n  use:\n    # The strictest category: generated code that compiles today compiles tomorrow. WIRE would let a rename through.\n    - FILE\n", ""),
		[]string{"RULES_CHANGED"}, []string{"buf.yaml: ", "ends too early"}},
	{"what can't be compiled", appended(eventsV1, "message {"), []string{"COMPILE"}, []string{eventsV1 + ":", "mend what the compiler says"}},
}

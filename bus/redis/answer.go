package redis

import (
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// away says whose error it is, and of an answer that denies something what mends it: whoever reads it in a log need not
// know the server's words.
func (s settings) away(err error, topics ...string) error {
	if reply, ok := refused(err); ok {
		if mend := s.mend(reply.Error(), topics); mend != "" {
			return fmt.Errorf("redis at %s: %w; %s", s.addr, err, mend)
		}
	}
	return fmt.Errorf("redis at %s: %w", s.addr, err)
}

// mend says what to do about an answer; "" where that depends.
func (s settings) mend(reply string, topics []string) string {
	user := s.username
	if user == "" {
		user = "default"
	}
	code, _, _ := strings.Cut(reply, " ")
	switch code {
	case "NOAUTH":
		return fmt.Sprintf("it wants a password: set %s, or pass %s", PasswordEnv, paramPasswordFile)
	case "WRONGPASS":
		return fmt.Sprintf("user %q or the password (from %s) is wrong: see %s and %s", user, s.passwordFrom, PasswordEnv, paramPasswordFile)
	case "NOPERM":
		return fmt.Sprintf("user %q lacks a right for %q; what it needs: ACL SETUSER %s &%s %s",
			user, topics, user, strings.Join(topics, " &"), rights)
	}
	return ""
}

// rights are the commands that a user needs, as ACL SETUSER takes them.
const rights = "+publish +subscribe +ping +client|setname +pubsub|numsub +info"

// answer is a PUBLISH that knows whether its answer was read. go-redis itself writes the error of a connection that
// broke in the midst over the answers that had come before.
type answer struct {
	goredis.IntCmd
	read bool
}

// SetErr is called by go-redis with nil when it has read the answer.
func (a *answer) SetErr(err error) {
	if !a.read {
		a.IntCmd.SetErr(err)
		a.read = err == nil
	}
}

// passing reports whether the server only asks to wait: it starts, fails over, or is stuck in a script.
func passing(err goredis.Error) bool {
	for _, prefix := range []string{"LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"} {
		if strings.HasPrefix(err.Error(), prefix) {
			return true
		}
	}
	return strings.Contains(err.Error(), "max number of clients")
}

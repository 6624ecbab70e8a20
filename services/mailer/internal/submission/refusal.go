package submission

import (
	"errors"
	"fmt"
	"net/textproto"
	"regexp"
	"strings"
	"unicode"

	"github.com/tidings-dev/tidings/bus"
)

// stage is what was being said when something went wrong, in words for people.
type stage string

const (
	stageConnect   stage = "connecting"
	stageGreeting  stage = "the greeting"
	stageTLS       stage = "TLS"
	stageAuth      stage = "authentication"
	stageSender    stage = "the sender"
	stageRecipient stage = "the recipient"
	stageData      stage = "the mail"
)

// Refusal is a server's own no.
type Refusal struct {
	Stage string // what was refused: "the recipient"
	Code  int    // 550
	Words string // the rest of the answer, in one line
}

// Error is the server's answer, with what it was an answer to.
func (r *Refusal) Error() string {
	return fmt.Sprintf("the mail server refused %s: %d %s", r.Stage, r.Code, r.Words)
}

// longestAnswer bounds what is kept of a server's answer, in bytes.
const longestAnswer = 500

// explain turns an error of a stage into one that says what to do next: see the package's documentation.
func explain(at stage, err error) error {
	var answer *textproto.Error
	if !errors.As(err, &answer) {
		return fmt.Errorf("mail server: %s: %w", at, err)
	}
	r := &Refusal{Stage: string(at), Code: answer.Code, Words: plain(answer.Msg)}
	if r.permanent(at) {
		return bus.Permanent(r)
	}
	return r
}

// permanent reports whether the refusal is about the recipient or the mail, and for good.
func (r *Refusal) permanent(at stage) bool {
	return (at == stageRecipient || at == stageData) && r.Code >= 500 && !r.aboutUs()
}

// aboutSender finds the enhanced code (RFC 3463) of a refusal that is about who sends.
var aboutSender = regexp.MustCompile(`^5\.(7\.\d{1,3}|1\.[78])\b`)

// aboutUs reports whether every other mail would have met the same. Many servers say only at RCPT what they have against
// the greeting or the sender.
func (r *Refusal) aboutUs() bool {
	switch r.Code {
	case 503, 504, 521, 523, 530, 534, 535, 538:
		return true
	}
	return aboutSender.MatchString(r.Words)
}

// closing reports whether the server has said that it will close the connection.
func (r *Refusal) closing() bool { return r.Code == 421 }

// plain makes one line of an answer that any log and database takes.
func plain(answer string) string {
	line := strings.Join(strings.Fields(strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, answer)), " ")
	return strings.ToValidUTF8(line[:min(len(line), longestAnswer)], "")
}

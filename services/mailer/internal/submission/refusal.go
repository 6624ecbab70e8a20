package submission

import (
	"errors"
	"fmt"
	"io"
	"net"
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
	Words string // the rest of the answer, in one line; of one to a password only the enhanced code, if it has one
}

// Error is the server's answer, with what it was an answer to.
func (r *Refusal) Error() string {
	return strings.TrimSpace(fmt.Sprintf("the mail server refused %s: %d %s", r.Stage, r.Code, r.Words))
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

// errNotUnderstood stands for an answer to a password that means nothing to the mechanism it was shown by.
var errNotUnderstood = errors.New("the server's answer is not understood")

// discreet keeps of an error of AUTH what can't hold the password. A server may repeat what it was told, and its words
// end up in logs, the database, and the answers to whoever asks: so only its codes are kept.
func discreet(err error) error {
	var answer *textproto.Error
	var connection net.Error
	switch {
	case errors.As(err, &answer):
		return &textproto.Error{Code: answer.Code, Msg: enhancedCode.FindString(plain(answer.Msg))}
	case err == nil, errors.As(err, &connection), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return err
	}
	return errNotUnderstood
}

// permanent reports whether the refusal is surely about the recipient or the mail, and for good. Where that can't be
// told the mail is tried again: that costs some attempts, and the other mistake costs every mail of a day on which
// somebody has forgotten the password.
func (r *Refusal) permanent(at stage) bool {
	if at != stageRecipient && at != stageData || r.Code < 500 || aboutUs(r.Code) {
		return false
	}
	switch class, detail := r.enhanced(); {
	case class == "": // the server has no such codes
		return (r.Code == 550 || r.Code == 553) && !wordsAboutUs(r.Words)
	case class != "5": // it contradicts itself
		return false
	case detail == "0.0" || detail == "5.0": // which say nothing
		return !wordsAboutUs(r.Words)
	default:
		return !detailAboutUs.MatchString(detail)
	}
}

// aboutUs reports whether every other mail would have met the same code: it is about the order of commands, the
// greeting, the password, or relaying. Many servers say only at RCPT what they have against who sends.
func aboutUs(code int) bool {
	switch code {
	case 500, 502, 503, 504, 521, 523, 530, 534, 535, 538, 551, 571:
		return true
	}
	return false
}

// enhancedCode finds the code of RFC 3463: at the start, for some with a "#" before it, or "(#5.7.1)" at the end.
var enhancedCode = regexp.MustCompile(`(?:^#?|\(#)([245])\.(\d{1,3}\.\d{1,3})\b`)

func (r *Refusal) enhanced() (class, detail string) {
	if m := enhancedCode.FindStringSubmatch(r.Words); m != nil {
		return m[1], m[2]
	}
	return "", ""
}

// detailAboutUs finds what is about the sender's address, the server's own state, limits of the sender, or policy.
var detailAboutUs = regexp.MustCompile(`^(1\.[078]|3\.[25]|4\.5|7\.\d+)$`)

var (
	// tellingWords are those of servers without enhanced codes, of a refusal that says who sends is not liked.
	tellingWords = regexp.MustCompile(`(?i)relay|auth(enticat|ori[sz]|\b)|sender|verif|limit|\brate\b|too many|policy|policies|` +
		`spam|block|black|\blist|rbl\b|reputation|spf\b|dkim|dmarc|[eh][eh]lo\b|client|\byour (ip|host|server|domain)|` +
		`denied|prohibit|permi(t|ss)|allowed|rcpthosts|temporar|later\b`)
	// quotedAddress is what a server repeats of what we said, in which any word may stand.
	quotedAddress = regexp.MustCompile(`<[^>]*>|\S*@\S*`)
)

func wordsAboutUs(words string) bool {
	return tellingWords.MatchString(quotedAddress.ReplaceAllString(words, ""))
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

// Package submission hands mails over to a mail server by SMTP: over TLS, with a password where one is set, several
// mails on one connection. [Parse] reads the server's address, a [Client] sends.
//
// # What an error says
//
// [Client.Send] returns nil only when the server has said yes to the whole mail. Any other outcome is one of two:
//
//   - An error of [bus.Permanent]: the server has refused this recipient or this mail for good, by a code from 500 up,
//     or no server could be asked, as the address is not one. Sending it again would change nothing.
//   - Any other error is worth another try: the server is away, is late, or says so itself by a code from 400 up.
//
// A server also refuses senders: it doesn't know the password, wants TLS, has put our address on a list. That says
// nothing about the mail in hand, and would hit all of them, until somebody has mended it. So it is never permanent,
// whatever its code. Such are: anything before the first mail (connection, greeting, TLS, AUTH), MAIL FROM, codes that
// speak of authentication, of our greeting or of the order of commands (503, 504, 521, 523, 530, 534, 535, 538), and
// the enhanced codes 5.1.7 and 5.1.8 (the sender's address) and 5.7.x (security and policy: "relay access denied").
//
// # What can happen twice
//
// Where the connection ends, or time does, after the mail was sent and before the server's answer has come, nobody here
// knows whether it was taken. Send then returns an error, the mail is sent again, and two may arrive. They have the same
// Message-ID. Where it ends earlier nothing was handed over.
package submission

// Package submission hands mails over to a mail server by SMTP: over TLS, with a password where one is set, several
// mails on one connection. [Parse] reads the server's address, a [Client] sends.
//
// # What an error says
//
// [Client.Send] returns nil only when the server has said yes to the whole mail. Any other outcome is one of two:
//
//   - An error of [bus.Permanent]: the server has refused this recipient or this mail for good, by a code from 500 up
//     that is surely about them, or no server could be asked, as the address is not one. Sending it again would change
//     nothing.
//   - Any other error is worth another try: the server is away, is late, says so itself by a code from 400 up, or it
//     can't be told whom a code from 500 up is about.
//
// A server also refuses senders: it doesn't know the password, wants TLS, has put our address on a list. That says
// nothing about the mail in hand, and would hit all of them, until somebody has mended it. So it is never permanent,
// whatever its code. Such are:
//
//   - Anything before the first mail (connection, greeting, TLS, AUTH), and MAIL FROM.
//   - Codes that speak of authentication, of our greeting, of relaying or of the order of commands: 500, 502, 503, 504,
//     521, 523, 530, 534, 535, 538, 551, 571.
//   - The enhanced codes 5.1.0, 5.1.7 and 5.1.8 (the sender's address), 5.3.2 and 5.3.5 (the server's own state), 5.4.5
//     (limits) and 5.7.x (security and policy: "relay access denied").
//   - Of servers that give no enhanced code, or one that says nothing (5.0.0, 5.5.0), everything but 550 and 553 (with
//     5.0.0 and 5.5.0 any code), and those too if their words speak of relaying, authentication, the sender, limits,
//     policy, block lists and the like: "550 relay not permitted".
//
// Of what a server answers to a password an error has only the codes: it may have repeated the password.
//
// A recipient's international domain goes out in its ASCII form, which every server takes. What stands before the "@"
// has none: where that is beyond ASCII, a server that doesn't offer SMTPUTF8 can't take the mail, which is permanent.
//
// # What can happen twice
//
// Where the connection ends, or time does, after the mail was sent and before the server's answer has come, nobody here
// knows whether it was taken. Send then returns an error, the mail is sent again, and two may arrive. They have the same
// Message-ID. Where it ends earlier nothing was handed over.
//
// Time ends by [Settings.Timeout], and by a stop of the service, however orderly: the mailer's inbox gives the mail in
// hand 5 s to end. A server that needs longer than that for its answer may get the mail again after the restart.
package submission

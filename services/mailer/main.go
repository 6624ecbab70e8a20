// Command mailer is the mailer service as a program of its own: it welcomes new users by mail. See package service.
package main

import (
	"os"

	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/mailer/service"
)

func main() { os.Exit(program.Main(program.OS("mailer"), service.Main)) }

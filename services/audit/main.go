// Command audit is the audit service as a program of its own: it answers what became of each user. See package service.
package main

import (
	"os"

	"github.com/tidings-dev/tidings/services/audit/service"
	"github.com/tidings-dev/tidings/services/internal/program"
)

func main() { os.Exit(program.Main(program.OS("audit"), service.Main)) }

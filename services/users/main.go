// Command users is the users service as a program of its own: the owner of users. See package service.
package main

import (
	"os"

	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/users/service"
)

func main() { os.Exit(program.Main(program.OS("users"), service.Main)) }

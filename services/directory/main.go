// Command directory is the directory service as a program of its own: it answers who people are. See package service.
package main

import (
	"os"

	"github.com/tidings-dev/tidings/services/directory/service"
	"github.com/tidings-dev/tidings/services/internal/program"
)

func main() { os.Exit(program.Main(program.OS("directory"), service.Main)) }

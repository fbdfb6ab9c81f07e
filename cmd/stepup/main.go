// Command stepup stands between programs and HashiCorp Vault or OpenBao and
// takes care of the second factor: programs set VAULT_ADDR to it, people are
// asked. This package only wires; the commands are in the folders of internal.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

func main() { os.Exit(run(cli.MachineConfig())) }

// run executes the command line and returns the exit code.
func run(shared cli.SharedConfig) int {
	// First, before there is a secret. Every command does it: most take or hold one.
	unprotected, err := protectMemory()
	c := &cli.Console{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Getenv, Shared: shared, Unprotected: unprotected}
	if err != nil {
		fmt.Fprintf(c.Err, "stepup: warning: your other programs can read the memory of this process: %v\n", err)
	}
	// net/http writes there, whole, what a server sends without being asked: the end
	// of an answer that is longer than it says, a token perhaps.
	log.SetOutput(io.Discard)
	return cli.Run(context.Background(), rootCommand(c), cli.CommandLine(os.Args), c)
}

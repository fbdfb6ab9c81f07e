// Command stepup stands between programs and HashiCorp Vault or OpenBao and
// takes care of the second factor: programs set VAULT_ADDR to it, people are
// asked. This package only wires: one file for each subcommand, and ui.go for
// every word that people read.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
)

func main() {
	// First, before there is a secret. Every command does it: most take or hold one.
	unprotected, err := protectMemory()
	c := console{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv, unprotected: unprotected}
	if err != nil {
		fmt.Fprintf(c.err, textUnprotected, err)
	}
	// net/http writes there, whole, what a server sends without being asked: the end
	// of an answer that is longer than it says, a token perhaps.
	log.SetOutput(io.Discard)
	os.Exit(run(context.Background(), commandLine(os.Args), c))
}

// A console is what a command gets from and gives to the outside.
type console struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string
	// unprotected runs start, which starts a program of the person's, without what a
	// child would inherit of the protection of our memory; nil runs it as it is.
	unprotected func(start func() error) error
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, c console) int {
	a := &app{console: c}
	root := a.root()
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		return a.report(err)
	}
	return exitDone
}

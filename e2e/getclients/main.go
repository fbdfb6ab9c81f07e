// Getclients makes the clients that the tests run through stepup, where they are
// not there yet: a few minutes the first time. What cannot be made here is named;
// its tests are then skipped.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/vault-stepup/stepup/e2e/clientbin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, c := range clientbin.All() {
		if _, err := c.Find(); !errors.Is(err, clientbin.ErrMissing) {
			complain(c, err)
			continue
		}
		fmt.Fprintf(os.Stderr, "making %s\n", c.Name)
		_, err := c.Make(ctx, os.Stderr)
		complain(c, err)
		if ctx.Err() != nil {
			os.Exit(1)
		}
	}
}

func complain(c clientbin.Client, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "note: %s is not there: %v\n", c.Name, err)
	}
}

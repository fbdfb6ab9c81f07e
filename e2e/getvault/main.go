// Getvault prints the path of the vault binary that the tests run, and builds
// it first when it is not there.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/vault-stepup/stepup/e2e/vaultbin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	bin, err := vaultbin.Find(ctx)
	if errors.Is(err, vaultbin.ErrMissing) {
		fmt.Fprintf(os.Stderr, "building vault %s: 10 to 15 minutes the first time\n", vaultbin.Version)
		bin, err = vaultbin.Build(ctx, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	fmt.Println(bin)
}

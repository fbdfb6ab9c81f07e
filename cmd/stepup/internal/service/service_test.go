//go:build unix

package service

import (
	"fmt"
	"os"
	"testing"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// Root's own service is no mistake; one made by sudo is.
func TestNotBySudo(t *testing.T) {
	t.Parallel()
	for uid, refused := range map[string]bool{"": false, "0": false, "1000": os.Geteuid() == 0} {
		a := &actions{&cli.Console{Env: func(string) string { return uid }}}
		if err := a.notBySudo(); (err != nil) != refused {
			t.Errorf("SUDO_UID=%q: %v", uid, err)
		}
	}
}

func TestFoundIn(t *testing.T) {
	t.Parallel()
	if got := fmt.Sprint(foundIn("/nowhere:relative", "sh"), foundIn(os.Getenv("PATH"), "sh")); got != "false true" {
		t.Errorf("foundIn: %s", got)
	}
}

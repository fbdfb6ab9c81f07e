//go:build unix

package main

import (
	"context"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vault-stepup/stepup/agent/devvault"
)

// suggests [PATH [N]]: the status suggests a rule for the path alone, which was
// refused N times; without PATH it suggests none.
func suggests(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 2 {
		ts.Fatalf("usage: suggests [PATH [N]]")
	}
	eventually(ts, "the right suggestions", func() bool {
		s, err := clientOf(ts).Status(context.Background())
		switch {
		case err != nil:
			return false
		case len(args) == 0:
			return len(s.Suggestions) == 0
		case len(s.Suggestions) != 1 || s.Suggestions[0].Path != args[0]:
			return false
		}
		return len(args) == 1 || strconv.Itoa(s.Suggestions[0].Count) == args[1]
	})
}

// forgetRule guards a path that no rule names.
func forgetRule(f *fixture) error {
	f.vault.AddPolicy("minter", devvault.PathRule{
		Path: "kv/data/hr/*", Capabilities: []string{"read"}, MFAMethods: []string{"corp_totp"},
	})
	return f.vault.PutSecret("kv/hr/db", map[string]any{"password": "x"})
}

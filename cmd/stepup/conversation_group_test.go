//go:build unix

package main

import (
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
)

// controlGroup is what a rule that waits for approvals has in Vault: abby must
// approve.
func (f *fixture) controlGroup(r rule.Rule) *devvault.ControlGroup {
	if r.ControlGroup.Timeout == 0 {
		return nil
	}
	f.vault.AddEntity("abby")
	return &devvault.ControlGroup{Factors: []devvault.GroupFactor{{Members: []string{"abby"}}}}
}

// approve NAME: the person of that name approves the oldest request that waits for
// it, once there is one.
func approve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: approve NAME")
	}
	v := fixtureOf(ts).vault
	eventually(ts, "a request waits for approval", func() bool {
		for _, h := range v.HeldRequests() {
			if !h.Approved {
				ts.Check(v.Authorize(h.Accessor, args[0]))
				return true
			}
		}
		return false
	})
}

// wrapInfo is what a program shows of an answer that is held back.
type wrapInfo struct {
	Token    string `json:"token"`
	Accessor string `json:"accessor"`
	Path     string `json:"creation_path"`
}

func heldText(w *wrapInfo, warnings []string) string {
	var b strings.Builder
	for _, warning := range warnings {
		fmt.Fprintf(&b, "WARNING! The following warnings were returned from Vault:\n\n  * %s\n\n", warning)
	}
	fmt.Fprintf(&b, "Key                              Value\n---                              -----\n"+
		"wrapping_token:                  %s\nwrapping_accessor:               %s\nwrapping_token_creation_path:    %s\n", w.Token, w.Accessor, w.Path)
	return b.String()
}

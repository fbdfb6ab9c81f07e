package agent_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/vault-stepup/stepup/agent/devvault"
)

// A program that asks on and on gets at most three questions, however it changes the
// namespace (community Vault ignores it) and the spelling of its token, whatever tokens
// it makes, and although it attaches and sends answers to prompts that are not there.
func TestOnlyThePersonUnmutes(t *testing.T) {
	t.Parallel()
	r := withTokens(t, newFixtureAt(t, devvault.Community, nil))
	r.person = deny
	const path = "kv/data/secure/db"
	another := func() *fixture { return r.as(r.vault.CreateToken([]string{"default"}, "alice")) }
	spell := func(token string) [][]string {
		return [][]string{{"X-Vault-Token", token}, {"Authorization", "Bearer " + token}, {"Authorization", "Bearer  " + token + " "}}
	}
	annoy := func() {
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		if _, err := r.control().Events(ctx, true); err != nil {
			t.Error(err)
		}
		_ = r.control().Answer(ctx, "nosuch", "123456") // an error, as it should be
	}
	for i := range 5 {
		for _, header := range spell(r.token) {
			annoy()
			r.do(t, "GET", "/v1/"+path, "", append(header, "X-Vault-Namespace", fmt.Sprint("ns", i))...)
		}
	}
	r.wantAsked(t, 1)
	for range 6 {
		annoy()
		another().read(t, path)
	}
	r.wantAsked(t, 3)

	result, err := r.control().Resume(t.Context())
	if err != nil || result.Rules != 1 {
		t.Fatalf("resume: %+v, %v", result, err)
	}
	for range 6 {
		another().read(t, path)
	}
	if _, err := r.control().Resume(t.Context()); err == nil {
		t.Error("a second resume within ten minutes counts")
	}
	another().read(t, path)
	r.wantAsked(t, 6)
}

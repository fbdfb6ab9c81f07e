package agent_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/prompt"
)

// A program that asks on and on gets at most three questions, however it changes the
// namespace (community Vault ignores it) and the spelling of its token, whatever tokens
// it makes, and although it attaches and sends answers to prompts that are not there.
func TestNothingButThePersonEndsTheSilence(t *testing.T) {
	t.Parallel()
	r := withTokens(t, newRigAt(t, devvault.Community, nil))
	r.person = func(context.Context, prompt.Request) (string, error) { return "", prompt.ErrDenied }
	path := "/v1/kv/data/secure/db"
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
			r.do(t, "GET", path, "", append(header, "X-Vault-Namespace", fmt.Sprint("ns", i))...)
		}
	}
	if n := len(r.asked.Requests()); n != 1 {
		t.Errorf("one caller caused %d questions, want 1", n)
	}
	for range 6 {
		token := r.vault.CreateToken([]string{"default"}, "alice")
		annoy()
		r.do(t, "GET", path, "", "X-Vault-Token", token)
	}
	if n := len(r.asked.Requests()); n != 3 {
		t.Errorf("%d questions, want 3", n)
	}

	result, err := r.control().Resume(t.Context())
	if err != nil || result.Rules != 1 {
		t.Fatalf("resume: %+v, %v", result, err)
	}
	for range 6 {
		r.do(t, "GET", path, "", "X-Vault-Token", r.vault.CreateToken([]string{"default"}, "alice"))
	}
	if _, err := r.control().Resume(t.Context()); err == nil {
		t.Error("a second resume within ten minutes counts")
	}
	r.do(t, "GET", path, "", "X-Vault-Token", r.vault.CreateToken([]string{"default"}, "alice"))
	if n := len(r.asked.Requests()); n != 6 {
		t.Errorf("%d questions after one resume, want 6", n)
	}
}

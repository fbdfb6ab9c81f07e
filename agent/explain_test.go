package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	client := control.NewClient(filepath.Join(r.dir, "run", agent.ControlSocket))
	tests := map[string]struct {
		ask        control.Explain
		rule       string
		why        []string
		granted    bool
		words      []string
		vaultSays  string
		methods    []control.Method
		noToken    bool
		err        error
		namespaced string
	}{
		"a rule": {
			ask: control.Explain{Path: "kv/data/prod/db", Token: secret.Secret(r.token)}, rule: "prod", why: []string{"matches", "path"},
			granted: true, words: []string{"create", "read", "update"}, methods: []control.Method{{Name: "corp", Type: "totp", Passcode: true}},
		},
		"a push": {
			ask: control.Explain{Path: "/v1/kv/data/call/db", Operation: "read", Token: secret.Secret(r.token)}, rule: "call", why: []string{"path", "matches"},
			granted: true, words: []string{"read"}, methods: []control.Method{{Name: "phone", Type: "okta"}},
		},
		"not granted":  {ask: control.Explain{Path: "kv/data/prod/db", Operation: "delete", Token: secret.Secret(r.token)}, rule: "prod", why: []string{"matches", "path"}, words: []string{"create", "read", "update"}, methods: []control.Method{{Name: "corp", Type: "totp", Passcode: true}}},
		"no rule":      {ask: control.Explain{Path: "kv/data/dev/db", Token: secret.Secret(r.token)}, why: []string{"path", "path"}, granted: true, words: []string{"read"}},
		"no token":     {ask: control.Explain{Path: "kv/data/dev/db"}, why: []string{"path", "path"}, noToken: true},
		"a dead token": {ask: control.Explain{Path: "kv/data/dev/db", Token: "hvs.dead"}, why: []string{"path", "path"}, vaultSays: "invalid token"},
		"root":         {ask: control.Explain{Path: "kv/data/dev/db", Token: secret.Secret(r.vault.RootToken())}, why: []string{"path", "path"}, words: []string{"root"}},
		"a namespace":  {ask: control.Explain{Path: "kv/data/prod/db", Namespace: "ns1/", Token: secret.Secret(r.token)}, rule: "prod", why: []string{"matches", "path"}, vaultSays: "permission denied", namespaced: "ns1", methods: []control.Method{{Name: "corp", Type: "totp", Passcode: true}}},
		"no path":      {ask: control.Explain{Path: "/v1/"}, err: control.ErrNoPath},
		"no operation": {ask: control.Explain{Path: "kv/x", Operation: "sudo"}, err: control.ErrNoPath},
		"no vault":     {ask: control.Explain{Path: "kv/x", Vault: "other"}, err: control.ErrNoVault},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := client.Explain(t.Context(), tt.ask)
			if !errors.Is(err, tt.err) || err != nil {
				if tt.err == nil || !errors.Is(err, tt.err) {
					t.Errorf("error %v, want %v", err, tt.err)
				}
				return
			}
			var why []string
			for _, reason := range e.Rules {
				why = append(why, reason.Why)
			}
			slices.Sort(e.Capabilities)
			switch {
			case e.Rule != tt.rule, e.Granted != tt.granted, !e.Agent, e.Vault != "corp", e.Namespace != tt.namespaced, (e.Caller == "") != tt.noToken:
				t.Errorf("%+v", e)
			case !strings.Contains(e.CapabilitiesError, tt.vaultSays) || (tt.vaultSays == "") != (e.CapabilitiesError == ""):
				t.Errorf("vault says %q", e.CapabilitiesError)
			}
			for _, d := range []string{cmp.Diff(tt.why, why), cmp.Diff(tt.words, cut(e.Capabilities)), cmp.Diff(tt.methods, cut(e.Methods))} {
				if d != "" {
					t.Error(d)
				}
			}
			text, err := json.Marshal(e)
			if err != nil || tt.ask.Token != "" && strings.Contains(string(text), tt.ask.Token.Reveal()) {
				t.Errorf("the token is in %s (%v)", text, err)
			}
		})
	}
}

// cut makes nil of an empty list.
func cut[T any](all []T) []T {
	if len(all) == 0 {
		return nil
	}
	return all
}

// What was decided about a caller a moment ago is told, and asking changes nothing.
func TestExplainAfterADenial(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	client := control.NewClient(filepath.Join(r.dir, "run", agent.ControlSocket))
	r.person = func(context.Context, prompt.Request) (string, error) { return "", prompt.ErrDenied }
	ask := control.Explain{Path: "kv/data/prod/db", Token: secret.Secret(r.token)}
	if e, err := client.Explain(t.Context(), ask); err != nil || e.Paused != "" || len(r.asked.Requests()) > 0 {
		t.Errorf("before: %+v %v", e, err)
	}
	r.do(t, "GET", "/v1/kv/data/prod/db", "", "X-Vault-Token", r.token)
	e, err := client.Explain(t.Context(), ask)
	if err != nil || !strings.Contains(e.Paused, "it was denied a moment ago") {
		t.Errorf("after: %q %v", e.Paused, err)
	}
	ask.Token = "hvs.other"
	if e, err := client.Explain(t.Context(), ask); err != nil || e.Paused != "" {
		t.Errorf("another caller: %q %v", e.Paused, err)
	}
}

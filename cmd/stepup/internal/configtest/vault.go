package configtest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/prompt"
)

// patience ends what would otherwise hang.
const patience = 20 * time.Second

// A script is what Vault does with the request of one test.
type script struct {
	login  []agent.Method // it is a login, held for one of these
	pushes string         // the end of the paths on which Vault pushes at once, and lets requests wait; "" for none
	denied string         // the Sentinel policy that refuses it; "" for none
}

// A refusingVault refuses every request as a Vault does that wants a second factor, of a
// caller whose policies grant everything. It knows every token.
type refusingVault struct {
	asked *recorder

	mu     sync.Mutex
	script script
}

func (v *refusingVault) play(s script) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.script = s
}

func (v *refusingVault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	s := v.script
	v.mu.Unlock()
	_, _ = io.Copy(io.Discard, r.Body)
	switch path := strings.TrimPrefix(r.URL.Path, "/v1/"); {
	case path == "sys/health":
		writeJSON(w, http.StatusOK, map[string]any{"initialized": true, "version": "1.21.0"})
	case strings.HasSuffix(path, "sys/capabilities-self"):
		writeJSON(w, http.StatusOK, map[string]any{"data": map[string]any{"capabilities": rule.Operations()}})
	case strings.HasSuffix(path, "auth/token/lookup-self"):
		writeJSON(w, http.StatusOK, map[string]any{"data": map[string]any{"accessor": "a", "policies": []string{"default"}, "ttl": 3600}})
	case strings.HasSuffix(path, "sys/mfa/validate"):
		v.refuse(w, r, script{pushes: path})
	case s.login != nil:
		writeJSON(w, http.StatusOK, held(s.login))
	default:
		v.refuse(w, r, s)
	}
}

// refuse answers with Vault's denial; where a push decides, when the person has been told.
func (v *refusingVault) refuse(w http.ResponseWriter, r *http.Request, s script) {
	if s.pushes != "" && strings.HasSuffix(r.URL.Path, s.pushes) {
		v.asked.wait(r.Context())
	}
	text := "1 error occurred:\n\t* permission denied\n\n"
	if s.denied != "" {
		text = "2 errors occurred:\n\t* egp standard policy \"" + s.denied + "\" evaluation resulted in denial.\n\n" +
			"The specific error was:\n<nil>\n\nResult: false\n\t* permission denied\n\n"
	}
	writeJSON(w, http.StatusForbidden, map[string]any{"errors": []string{text}})
}

// held is the answer to a login for which Vault wants one of the methods.
func held(methods []agent.Method) any {
	type method struct {
		Type     string `json:"type"`
		ID       string `json:"id"`
		Passcode bool   `json:"uses_passcode,omitempty"`
		Name     string `json:"name"`
	}
	var all []method
	for _, m := range methods {
		all = append(all, method{m.Type, "id-of-" + m.Name, m.Type == "totp", m.Name})
	}
	return map[string]any{"auth": map[string]any{"mfa_requirement": map[string]any{
		"mfa_request_id": "r", "mfa_constraints": map[string]any{"enforcement": map[string]any{"any": all}},
	}}}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the agent has gone
}

// A recorder is a prompter that keeps the first question, and cannot ask it.
type recorder struct {
	mu    sync.Mutex
	first *prompt.Request
	here  chan struct{} // closed when there is one
}

// question is what was asked first; nil for nothing.
func (p *recorder) question() *prompt.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.first
}

// wait returns when something has been asked, or nothing will be.
func (p *recorder) wait(ctx context.Context) {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-p.here:
	case <-ctx.Done():
	case <-timeout.C:
	}
}

// Prompt implements prompt.Prompter.
func (p *recorder) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	p.mu.Lock()
	if p.first == nil {
		r.Choices = slices.Clone(r.Choices)
		p.first = &r
		close(p.here)
	}
	p.mu.Unlock()
	if r.Kind == prompt.Push {
		<-ctx.Done()
		return "", ctx.Err()
	}
	return "", prompt.ErrUnavailable
}

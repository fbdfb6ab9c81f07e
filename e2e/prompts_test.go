package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// silent is a prompt command that nobody looks at: it waits until it is ended.
func silent(t *testing.T) *person {
	t.Helper()
	return newPerson(t, func(ctx context.Context, _ asked) answer { <-ctx.Done(); return answer{} })
}

// A prompt that is open in one place is answered in another: the first answer
// wins and the others are closed.
func TestAnswerFromAnotherTerminal(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	tests := []struct {
		name    string
		with    func(id, code string) (stdin string, args []string)
		status  int
		outcome string
	}{
		{"code as an argument", func(id, code string) (string, []string) { return "", []string{"answer", id, code} }, 200, "approved"},
		{"code from standard input", func(id, code string) (string, []string) { return code + "\n", []string{"answer", id} }, 200, "approved"},
		{"deny", func(id, _ string) (string, []string) { return "", []string{"deny", id} }, 403, "denied"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			u := srv.newUser(t)
			c := u.totp(t)
			u.enforce(t, c.id)
			p := silent(t)
			a := startAgent(t, setup{person: p, hide: []string{u.password}})
			answered := make(chan got, 1)
			go func() { answered <- u.login(t, a.addr) }()
			id := p.wait(t, 0).ID
			if list := a.stepup("").ok(t, "prompts").stdout; !strings.Contains(list, id) {
				t.Errorf("stepup prompts does not show %s:\n%s", id, list)
			}
			if r := a.stepup("").run(t, "answer", "no-such-id", "123456"); r.code != 1 || !strings.Contains(r.stderr, "error: ") {
				t.Errorf("unknown ID: exit %d\n%s", r.code, r.stderr)
			}
			stdin, args := test.with(id, c.next())
			a.stepup(stdin).ok(t, args...)
			(<-answered).wantStep(t, test.status, test.outcome)
			eventually(t, "the other prompt is closed", func() bool { return p.ended() == 1 })
			if list := a.stepup("").ok(t, "prompts").stdout; strings.Contains(list, id) {
				t.Errorf("the prompt is still listed:\n%s", list)
			}
		})
	}
}

func TestLockCancelsPrompts(t *testing.T) {
	t.Parallel()
	w := newGuarded(t, []string{"read"}, "corp_totp")
	p := silent(t)
	a := w.agent(t, p)
	answered := make(chan got, 1)
	go func() { answered <- w.get().send(t, a.addr) }()
	p.wait(t, 0)
	a.stepup("").ok(t, "lock")
	(<-answered).wantStep(t, 403, "denied")
}

func TestStatus(t *testing.T) {
	t.Parallel()
	w := newGuarded(t, []string{"read"}, "corp_totp")
	a := w.agent(t, w.typist(t))
	text := a.stepup("").ok(t, "status").stdout
	machine := a.stepup("").ok(t, "status", "--format", "json").stdout
	if !json.Valid([]byte(machine)) {
		t.Errorf("not JSON: %s", machine)
	}
	for _, want := range []string{strings.TrimPrefix(a.addr, "http://"), w.addr, "guarded"} {
		if !strings.Contains(text, want) || !strings.Contains(machine, want) {
			t.Errorf("status does not show %s:\n%s\n%s", want, text, machine)
		}
	}
	if r := a.stepup("").run(t, "config", "check"); r.code != 0 {
		t.Errorf("config check: exit %d\n%s", r.code, r.stderr)
	}
	for name, want := range map[string]os.FileMode{"vault.sock": 0o600, "control.sock": 0o600, "": 0o700} {
		info, err := os.Stat(filepath.Join(a.dir, "run", name))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != want {
			t.Errorf("run/%s has mode %v, want %v", name, info.Mode(), want)
		}
	}
}

func TestNoAgent(t *testing.T) {
	t.Parallel()
	needVault(t)
	bin, err := world.stepup()
	if err != nil {
		t.Fatal(err)
	}
	dir := tempDir(t)
	stepup := program{path: bin, env: cleanEnv(dir, "STEPUP_RUNTIME_DIR="+dir, "STEPUP_STATE_DIR="+dir)}
	for _, args := range [][]string{{"status"}, {"prompts"}, {"answer", "x", "123456"}, {"deny", "x"}, {"lock"}} {
		if r := stepup.run(t, args...); r.code != 4 || !strings.Contains(r.stderr, "error: ") {
			t.Errorf("stepup %q: exit %d, want 4\n%s", args, r.code, r.stderr)
		}
	}
}

// The audit log tells the story, without a secret in it (agent.stop looks).
func TestAudit(t *testing.T) {
	t.Parallel()
	w := newGuarded(t, []string{"read"}, "corp_totp")
	a := w.agent(t, w.typist(t))
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	file := filepath.Join(a.dir, "state", "audit.jsonl")
	events := map[string]map[string]any{}
	eventually(t, "the approval is in the audit log", func() bool {
		text, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		for line := range strings.Lines(string(text)) {
			var e map[string]any
			if json.Unmarshal([]byte(line), &e) != nil {
				return false // a line that is being written
			}
			name, _ := e["event"].(string)
			events[name] = e
		}
		return events["approved"] != nil
	})
	for _, name := range []string{"challenge", "prompt", "approved"} {
		e := events[name]
		if e["rule"] != "guarded" || e["path"] != w.path || e["vault"] != "corp" || e["operation"] != "read" {
			t.Errorf("event %s: %v", name, e)
		}
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Error(err)
	} else if info.Mode().Perm() != 0o600 {
		t.Errorf("the audit log has mode %v", info.Mode())
	}
}

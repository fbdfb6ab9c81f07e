package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A prompt that is open in one place is answered in another: the first answer
// wins and the others are closed.
func TestAnswerFromAnotherTerminal(t *testing.T) {
	srv := parallel(t)
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
			u, c := srv.newMFAUser(t)
			p := silent(t)
			a := startAgent(t, setup{responder: p, hide: []string{u.password}})
			answered := async(func() got { return u.login(t, a.addr) })
			id := p.wait(t, 0).ID
			contains(t, "stepup prompts", a.stepup("").ok(t, "prompts").stdout, id)
			a.stepup("").run(t, "answer", "no-such-id", "123456").wantFailure(t, 1, "error: ")
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

func TestStatus(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "header")
	a := w.agent(t, w.typist(t))
	text := a.stepup("").ok(t, "status").stdout
	machine := a.stepup("").ok(t, "status", "--format", "json").stdout
	if !json.Valid([]byte(machine)) {
		t.Errorf("not JSON: %s", machine)
	}
	for _, want := range []string{strings.TrimPrefix(a.addr, "http://"), w.addr, "secure"} {
		if !strings.Contains(text, want) || !strings.Contains(machine, want) {
			t.Errorf("status does not show %s:\n%s\n%s", want, text, machine)
		}
	}
	a.stepup("").ok(t, "config", "check")
	a.wantMode(t, "run/vault.sock", 0o600)
	a.wantMode(t, "run/control.sock", 0o600)
	a.wantMode(t, "run", 0o700)
}

func TestNoAgent(t *testing.T) {
	parallel(t)
	bin, err := world.stepup()
	check(t, err)
	dir := tempDir(t)
	stepup := program{path: bin, env: cleanEnv(dir, "STEPUP_RUNTIME_DIR="+dir, "STEPUP_STATE_DIR="+dir)}
	for _, args := range [][]string{{"status"}, {"prompts"}, {"answer", "x", "123456"}, {"deny", "x"}, {"lock"}} {
		stepup.run(t, args...).wantFailure(t, 4, "error: ")
	}
}

// The audit log tells the story, without a secret in it (agent.stop looks).
func TestAudit(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "header")
	a, _ := w.steppedUp(t)
	events := map[any]map[string]any{}
	eventually(t, "the approval is in the audit log", func() bool {
		for _, e := range a.audit() {
			events[e["event"]] = e
		}
		return events["approved"] != nil
	})
	for _, name := range []string{"challenge", "prompt", "approved"} {
		e := events[name]
		if e["rule"] != "secure" || e["path"] != w.path || e["vault"] != "corp" || e["operation"] != "read" {
			t.Errorf("event %s: %v", name, e)
		}
	}
	a.wantMode(t, "state/audit.jsonl", 0o600)
}

// audit is the audit log so far.
func (a *agent) audit() (events []map[string]any) {
	text, err := os.ReadFile(filepath.Join(a.dir, "state", "audit.jsonl"))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		var e map[string]any
		if json.Unmarshal([]byte(line), &e) != nil {
			return events // a line that is being written
		}
		events = append(events, e)
	}
	return events
}

// wantMode checks the mode of a file or folder of the agent.
func (a *agent) wantMode(t *testing.T, name string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(filepath.Join(a.dir, filepath.FromSlash(name)))
	check(t, err)
	equal(t, name, info.Mode().Perm(), want)
}

package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// secretMarker is part of the values that the agent's environment holds and that
// must come out nowhere.
const secretMarker = "marker-4f1c"

// An agent is a running "stepup agent".
type agent struct {
	addr   string // http://127.0.0.1:port
	socket string // the unix listener
	dir    string
	bin    string
	env    []string
	log    *output   // of all its processes, one after the other
	cmd    *exec.Cmd // nil when it does not run
	done   chan error
	starts int      // how often it was started
	hide   []string // must not be in the log or the audit log
}

// setup is what a test chooses of an agent; zero values are good.
type setup struct {
	upstream  string     // default: the shared server
	responder *responder // default: no way to ask but "attached"
	attempts  int        // default 3
	timeout   string     // default 4m: no test waits for its end
	cooldown  string     // default 5m: it is over in no test
	store     string     // of the cache; default memory
	prompt    string     // more lines for the prompt block
	extra     string     // more blocks: rules, login_mfa
	env       []string
	hide      []string
}

func (s setup) config(addr string) string {
	drivers := `use = ["attached"]`
	if s.responder != nil {
		drivers = fmt.Sprintf("use = [\"command\"]\n  command = [%q, %q, %q]", os.Args[0], responderArg, s.responder.url)
	}
	return fmt.Sprintf(`
vault "corp" { address = %q }
listener "tcp" { address = %q }
listener "unix" { address = "${runtime_dir}/vault.sock" }
prompt {
  %s
  attempts = %d
  timeout  = %q
  cooldown = %q
  %s
}
cache { store = %q }
audit { file = "${state_dir}/audit.jsonl" }
log { level = "debug" }
%s
`, s.upstream, addr, drivers, cmp.Or(s.attempts, 3), cmp.Or(s.timeout, "4m"), cmp.Or(s.cooldown, "5m"), s.prompt, cmp.Or(s.store, "memory"), s.extra)
}

// startAgent returns when the agent's listener answers; at the end of the test
// it is stopped and its logs are checked.
func startAgent(t *testing.T, s setup) *agent {
	t.Helper()
	srv := needVault(t)
	bin, err := world.stepup()
	check(t, err)
	s.upstream = cmp.Or(s.upstream, srv.addr)
	addr := mustPort(t)
	dir := tempDir(t)
	a := &agent{
		addr: "http://" + addr, socket: filepath.Join(dir, "run", "vault.sock"), dir: dir, bin: bin,
		log: &output{}, hide: append([]string{secretMarker}, s.hide...),
	}
	file := filepath.Join(dir, "stepup.hcl")
	write(t, file, s.config(addr))
	for _, sub := range []string{"run", "state", "home"} {
		check(t, os.Mkdir(filepath.Join(dir, sub), 0o700))
	}
	// With the race detector a program waits for a second before it ends, and a
	// call to the keyring is a program.
	a.env = cleanEnv(filepath.Join(dir, "home"), append(s.env, "GORACE=atexit_sleep_ms=0", "STEPUP_CONFIG="+file,
		"STEPUP_RUNTIME_DIR="+filepath.Join(dir, "run"), "STEPUP_STATE_DIR="+filepath.Join(dir, "state"))...)
	t.Cleanup(func() { a.inspect(t) })
	t.Cleanup(func() { a.stop(t) })
	a.run(t)
	return a
}

// run starts the agent, also once more after it has ended.
func (a *agent) run(t *testing.T) {
	t.Helper()
	a.cmd = exec.Command(a.bin, "agent")
	// What usually stands in a shell whose VAULT_ADDR points at the agent
	// itself: none of it may choose the upstream, or reach anyone.
	a.cmd.Env = append(slices.Clone(a.env), "VAULT_ADDR="+a.addr, "VAULT_AGENT_ADDR="+a.addr, "VAULT_TOKEN="+secretMarker,
		"VAULT_NAMESPACE=nowhere", "VAULT_MAX_RETRIES=9")
	a.cmd.Stderr, a.cmd.Stdout = a.log, a.log
	tie(a.cmd)
	check(t, a.cmd.Start())
	a.starts++
	cmd, done := a.cmd, make(chan error, 1)
	a.done = done
	go func() { done <- cmd.Wait() }()
	a.waitReady(t)
}

// kill ends the agent as a crash or a full machine does, without a word to it.
func (a *agent) kill(t *testing.T) {
	t.Helper()
	check(t, a.cmd.Process.Kill())
	<-a.done
	a.cmd = nil
}

// restart is a crash, and the next start.
func (a *agent) restart(t *testing.T) {
	t.Helper()
	a.kill(t)
	a.run(t)
}

func (a *agent) waitReady(t *testing.T) {
	t.Helper()
	eventually(t, "stepup answers", func() bool {
		select {
		case err := <-a.done:
			a.done <- err
			t.Fatalf("stepup agent ended: %v\n%s", err, a.log)
		default:
		}
		return strings.Count(a.log.String(), "level=INFO msg=ready ") == a.starts
	})
}

// stop ends the agent as systemd does; it must go well.
func (a *agent) stop(t *testing.T) {
	t.Helper()
	if a.cmd == nil {
		return
	}
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("SIGTERM: %v", err)
	}
	select {
	case err := <-a.done:
		if err != nil {
			t.Errorf("stepup agent: %v", err)
		}
	case <-time.After(patience):
		_ = a.cmd.Process.Signal(syscall.SIGQUIT) // a dump of its goroutines
		<-a.done
		t.Error("stepup agent did not stop after SIGTERM")
	}
	a.cmd = nil
}

// wantLog waits until the log has the text: it comes beside the answers.
func (a *agent) wantLog(t *testing.T, text string) {
	t.Helper()
	eventually(t, "the log has "+text, func() bool { return strings.Contains(a.log.String(), text) })
}

// inspect checks the logs of the agent: no crash, no race, no secret.
func (a *agent) inspect(t *testing.T) {
	t.Helper()
	log := a.log.String()
	for _, bad := range []string{"panic:", "DATA RACE", "goroutine "} {
		if strings.Contains(log, bad) {
			t.Errorf("the log of the agent contains %q", bad)
		}
	}
	audit, err := os.ReadFile(filepath.Join(a.dir, "state", "audit.jsonl"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	for _, secret := range a.hide {
		if strings.Contains(log, secret) || strings.Contains(string(audit), secret) {
			t.Errorf("a secret got into the log or the audit log: %s", secret)
		}
	}
	if t.Failed() {
		t.Logf("log of stepup:\n%s", log)
	}
}

// stepup is the binary with the agent's own environment, for the commands that
// speak to it.
func (a *agent) stepup(stdin string) program {
	return program{path: a.bin, env: a.env, stdin: stdin}
}

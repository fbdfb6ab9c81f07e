package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A program is a command line tool with an environment of its own.
type program struct {
	path  string
	env   []string
	stdin string

	serves bool // it goes before the other programs
}

type result struct {
	stdout, stderr string
	code           int
}

// A running is a program that was started.
type running struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	done           chan error
}

// start runs the program beside the test, at whose end it is killed.
func (p program) start(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{cmd: exec.Command(p.path, args...), done: make(chan error, 1)}
	r.cmd.Env = p.env
	r.cmd.Stdin = strings.NewReader(p.stdin)
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	tie(r.cmd)
	if err := r.cmd.Start(); err != nil {
		t.Fatalf("%s %q: %v", p.path, args, err)
	}
	if !p.serves {
		nice(r.cmd)
	}
	go func() { r.done <- r.cmd.Wait() }()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		_ = r.wait(t)
	})
	return r
}

// wait returns when the program has ended; one that hangs ends the test.
func (r *running) wait(t *testing.T) result {
	t.Helper()
	var exit *exec.ExitError
	select {
	case err := <-r.done:
		r.done <- nil // for another wait
		if err != nil && !errors.As(err, &exit) {
			t.Fatalf("%q: %v\n%s%s", r.cmd.Args, err, &r.stdout, &r.stderr)
		}
	case <-time.After(2 * patience):
		_ = r.cmd.Process.Kill()
		<-r.done
		r.done <- nil
		t.Fatalf("%q does not end\n%s%s", r.cmd.Args, &r.stdout, &r.stderr)
	}
	return result{r.stdout.String(), r.stderr.String(), r.cmd.ProcessState.ExitCode()}
}

// ended reports whether the program has ended.
func (r *running) ended() bool {
	select {
	case err := <-r.done:
		r.done <- err
		return true
	default:
		return false
	}
}

// interrupt sends ctrl-c.
func (r *running) interrupt(t *testing.T) {
	t.Helper()
	check(t, r.cmd.Process.Signal(os.Interrupt))
}

// run waits for the program to end.
func (p program) run(t *testing.T, args ...string) result {
	t.Helper()
	return p.start(t, args...).wait(t)
}

// ok is run for what must succeed.
func (p program) ok(t *testing.T, args ...string) result {
	t.Helper()
	return p.start(t, args...).ok(t)
}

// ok is wait for what must succeed.
func (r *running) ok(t *testing.T) result {
	t.Helper()
	got := r.wait(t)
	if got.code != 0 {
		t.Fatalf("%q: exit %d\n%s%s", r.cmd.Args, got.code, got.stdout, got.stderr)
	}
	return got
}

// cli is the real CLI, vault or bao, with a home folder of its own.
func cli(t *testing.T, addr string, more ...string) (program, string) {
	t.Helper()
	needVault(t)
	home := tempDir(t)
	return program{path: world.vault, env: cleanEnv(home, append([]string{addrEnv(addr)}, more...)...)}, home
}

// addrEnv names the server in the CLI's own variable.
func addrEnv(addr string) string { return byServer("VAULT_ADDR=", "BAO_ADDR=") + addr }

// fields decodes the JSON output of a CLI.
func (r result) fields(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(r.stdout), &m); err != nil {
		t.Fatalf("not JSON: %v\n%s%s", err, r.stdout, r.stderr)
	}
	return m
}

// wantFailure checks the exit code, and that the program says each of these texts.
func (r result) wantFailure(t *testing.T, code int, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if r.code != code || !strings.Contains(r.stderr, text) {
			t.Errorf("exit %d, want %d with %q\n%s%s", r.code, code, text, r.stdout, r.stderr)
		}
	}
}

// wantSecret checks the secret in the JSON output of a CLI.
func (r result) wantSecret(t *testing.T) {
	t.Helper()
	if r.code != 0 || dig(r.fields(t), "data", "data", "key") != "value" {
		t.Errorf("exit %d, want the secret\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// dig follows names into nested objects; nil where there is nothing.
func dig(v any, names ...string) any {
	for _, name := range names {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

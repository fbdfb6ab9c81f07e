package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
}

type result struct {
	stdout, stderr string
	code           int
}

// run waits for the program to end; one that hangs ends the test.
func (p program) run(t *testing.T, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.path, args...)
	cmd.Env = p.env
	cmd.Stdin = strings.NewReader(p.stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if ctx.Err() != nil || (err != nil && !errors.As(err, &exit)) {
		t.Fatalf("%s %q: %v, %v\n%s%s", p.path, args, err, ctx.Err(), &stdout, &stderr)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// ok is run for what must succeed.
func (p program) ok(t *testing.T, args ...string) result {
	t.Helper()
	r := p.run(t, args...)
	if r.code != 0 {
		t.Fatalf("%q: exit %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return r
}

// cli is the real vault CLI with a home folder of its own.
func cli(t *testing.T, addr string, more ...string) (program, string) {
	t.Helper()
	needVault(t)
	home := tempDir(t)
	return program{path: world.vault, env: cleanEnv(home, append([]string{"VAULT_ADDR=" + addr}, more...)...)}, home
}

// fields decodes the JSON output of a CLI.
func (r result) fields(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(r.stdout), &m); err != nil {
		t.Fatalf("not JSON: %v\n%s%s", err, r.stdout, r.stderr)
	}
	return m
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

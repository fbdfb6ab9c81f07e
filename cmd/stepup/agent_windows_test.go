package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/prompt"
)

// The names under which the test binary is stepup, or an app that looks at Vault's health
// and ends with 7.
const program, app = "stepup.exe", "app.exe"

// TestMain lets the test binary be another program.
func TestMain(m *testing.M) {
	switch exe, _ := os.Executable(); filepath.Base(exe) {
	case program:
		os.Exit(run(cli.SharedConfig{}))
	case app:
		fmt.Println(get(context.Background(), os.Getenv("VAULT_ADDR")+"/v1/sys/health", ""))
		os.Exit(7)
	}
	os.Exit(m.Run())
}

// get is an app: it returns status, outcome and body, or why there is no answer.
func get(ctx context.Context, url, token string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	req.Header.Set("X-Vault-Token", token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return fmt.Sprintf("%d %s %s", resp.StatusCode, resp.Header.Get("Stepup-Outcome"), body)
}

// patience ends what would hang.
const patience = time.Minute

const windowsConfig = `vault "dev" { address = "%s" }
listener "tcp" { address = "127.0.0.1:0" }
mfa_method "corp_totp" { type = "totp" }
step_up "prod" {
  paths   = ["kv/data/prod/*"]
  methods = ["corp_totp"]
  grant "header" {}
}
prompt { use = ["attached"] }
cache { store = "keyring" }
`

// A fixture is a Vault and a folder with stepup in it.
type fixture struct {
	t     *testing.T
	dir   string
	vault *devvault.Server
	token string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir(), vault: devvault.New(devvault.Config{})}
	t.Cleanup(f.vault.Close)
	f.vault.AddTOTPMethod("corp_totp")
	f.vault.AddPolicy("app", devvault.PathRule{Path: "kv/data/prod/*", Capabilities: []string{"read"}, MFAMethods: []string{"corp_totp"}})
	_, _, err := f.vault.EnrolTOTP("corp_totp", f.vault.AddUser("userpass", "alice", "alice's password", "app"))
	f.must(err)
	f.must(f.vault.PutSecret("kv/prod/db", map[string]any{"value": "swordfish"}))
	url, err := f.vault.Start()
	f.must(err)
	f.token = f.vault.CreateToken([]string{"default", "app"}, "alice")
	exe, err := os.Executable()
	f.must(err)
	binary, err := os.ReadFile(exe)
	f.must(err)
	for _, name := range []string{program, app} {
		f.must(os.WriteFile(filepath.Join(f.dir, name), binary, 0o700))
	}
	f.must(os.WriteFile(filepath.Join(f.dir, "stepup.hcl"), fmt.Appendf(nil, windowsConfig, url), 0o600))
	return f
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(f.t.Context(), filepath.Join(f.dir, program), args...)
	cmd.Dir = f.dir
	cmd.Env = append(os.Environ(), "STEPUP_CONFIG="+filepath.Join(f.dir, "stepup.hcl"),
		"STEPUP_RUNTIME_DIR="+filepath.Join(f.dir, "run"), "STEPUP_STATE_DIR="+filepath.Join(f.dir, "state"))
	return cmd
}

// stepup returns what a command has printed, and fails unless it ends with that code.
func (f *fixture) stepup(code int, stdin string, args ...string) string {
	f.t.Helper()
	out, got := f.try(stdin, args...)
	if got != code {
		f.t.Fatalf("stepup %s: exit code %d, want %d:\n%s", strings.Join(args, " "), got, code, out)
	}
	return out
}

func (f *fixture) try(stdin string, args ...string) (out string, code int) {
	cmd := f.command(args...)
	cmd.Stdin = strings.NewReader(stdin)
	text, _ := cmd.CombinedOutput()
	return string(text), cmd.ProcessState.ExitCode()
}

// eventually calls done until it is true.
func (f *fixture) eventually(what string, done func() bool) {
	f.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// agent starts an agent and returns the address of its listener.
func (f *fixture) agent() (base string, stop func()) {
	f.t.Helper()
	cmd := f.command("agent")
	var log bytes.Buffer
	cmd.Stderr = &log
	f.must(cmd.Start())
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if f.t.Failed() {
			f.t.Logf("the agent's log:\n%s", &log)
		}
	}
	stop = sync.OnceFunc(stop)
	f.t.Cleanup(stop)
	var status struct{ Listeners []struct{ Address string } }
	f.eventually("the agent is ready", func() bool {
		out, code := f.try("", "status", "--format", "json")
		return code == 0 && json.Unmarshal([]byte(out), &status) == nil && len(status.Listeners) == 1 && !strings.HasSuffix(status.Listeners[0].Address, ":0")
	})
	return "http://" + status.Listeners[0].Address, stop
}

// read reads the secret through the agent, as an app of this process.
func (f *fixture) read(base string) <-chan string {
	answer := make(chan string, 1)
	go func() { answer <- get(f.t.Context(), base+"/v1/kv/data/prod/db", f.token) }()
	return answer
}

// asked waits for the one prompt, of a request that has no answer yet.
func (f *fixture) asked(answer <-chan string) prompt.Request {
	f.t.Helper()
	var open struct{ Prompts []prompt.Request }
	f.eventually("a prompt is open", func() bool {
		select {
		case got := <-answer:
			f.t.Fatalf("not asked, and answered %s", got)
		default:
		}
		out, code := f.try("", "prompts", "--format", "json")
		return code == 0 && json.Unmarshal([]byte(out), &open) == nil && len(open.Prompts) == 1
	})
	return open.Prompts[0]
}

// An agent answers on its named pipe, and asks with the name of the program at the other end
// of a TCP connection.
func TestAgent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.stepup(0, "", "config", "check")
	f.stepup(4, "", "status")
	base, stop := f.agent()

	// A program of the user that answers prompts is there.
	events, err := control.NewClient(filepath.Join(f.dir, "run", agent.ControlSocket)).Events(t.Context(), true)
	f.must(err)
	var watching sync.WaitGroup
	watching.Go(func() {
		for range events {
			continue
		}
	})
	defer watching.Wait()
	defer stop()

	answer := f.read(base)
	asked := f.asked(answer)
	exe, _ := os.Executable()
	if asked.Path != "kv/data/prod/db" || asked.Requester.PID != os.Getpid() || asked.Requester.Exe != filepath.ToSlash(exe) {
		t.Errorf("asked %+v, want this process, %d, %s", asked, os.Getpid(), exe)
	}
	f.stepup(0, f.vault.UnusedCode("corp_totp", "alice"), "answer", asked.ID)
	if got := <-answer; !strings.HasPrefix(got, "200 approved") || !strings.Contains(got, "swordfish") {
		t.Errorf("after the code: %s", got)
	}

	answer = f.read(base)
	f.stepup(0, "", "deny", f.asked(answer).ID)
	if got := <-answer; !strings.HasPrefix(got, "403 denied") {
		t.Errorf("after the denial: %s", got)
	}

	f.stepup(0, "", "lock")
	if out := f.stepup(1, "", "agent"); !strings.Contains(out, "another agent is running") {
		t.Errorf("a second agent says %s", out)
	}
	stop()
	f.stepup(4, "", "status")
	f.agent() // where one was killed
}

// A command of exec finds the agent in its environment, also one that a private listener knows
// by the table of processes, and exec ends with its code.
func TestExec(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	command := []string{"--", filepath.Join(f.dir, app)}
	check := func(what string, args ...string) {
		out, code := f.try("", append(append([]string{"exec"}, args...), command...)...)
		if code != 7 || !strings.HasPrefix(out, "200 ") && !strings.Contains(out, "\n200 ") {
			t.Errorf("%s: exit code %d\n%s", what, code, out)
		}
	}
	check("without an agent")
	f.agent()
	check("with an agent")
	check("private", "--listen", "private")
}

// The Credential Manager keeps what is stored there from one process to the next.
func TestCredentialManager(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if out := f.stepup(0, "", "token-helper", "get"); out != "" {
		t.Errorf("nothing is stored, and got %q", out)
	}
	f.stepup(0, "hvs.the-token-of-alice", "token-helper", "store")
	if out := f.stepup(0, "", "token-helper", "get"); out != "hvs.the-token-of-alice" {
		t.Errorf("stored, and got %q", out)
	}
	f.stepup(0, "", "token-helper", "erase")
	if out, _ := f.try("", "token-helper", "get"); strings.Contains(out, "hvs.") {
		t.Errorf("erased, and got %q", out)
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if out := f.stepup(0, "", "version"); !strings.Contains(out, "windows/") {
		t.Errorf("version: %s", out)
	}
	f.stepup(0, "", "config", "show")
	f.stepup(1, "", "config", "init", "--address", "https://vault.corp.example:8200") // there is one
	f.must(os.Remove(filepath.Join(f.dir, "stepup.hcl")))
	f.stepup(0, "", "config", "init", "--address", "https://vault.corp.example:8200")
	f.stepup(0, "", "config", "check")
	// The demo needs a unix socket, which Wine 10 has not.
	if out, code := f.try("", "demo", "--auto"); code != 0 && !strings.Contains(out, "this Windows has no unix sockets") {
		t.Errorf("demo: exit code %d\n%s", code, out)
	}
}

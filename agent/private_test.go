package agent_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/listener"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

func (r *rig) control() *control.Client {
	return control.NewClient(filepath.Join(r.dir, "run", agent.ControlSocket))
}

// get reads a path of the agent at an address.
func get(t *testing.T, url string, header ...string) (int, string) {
	t.Helper()
	r := &rig{url: url}
	got := r.do(t, "GET", "/v1/kv/data/dev/db", "", header...)
	return got.status, got.body
}

// gone waits until nobody listens there.
func gone(t *testing.T, address string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		resp, err := client.Get("http://" + address + "/v1/sys/health")
		if err != nil {
			return
		}
		_ = resp.Body.Close()
	}
	t.Fatalf("%s is still served", address)
}

func TestPrivateListener(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, leave := context.WithCancel(t.Context())
	lease, err := r.control().Lease(ctx, control.Wanted{})
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + lease.Address
	if status, body := get(t, base, "X-Vault-Token", r.token); status != 200 {
		t.Errorf("from inside: %d %s", status, body)
	}
	listeners, err := r.control().Listeners(t.Context())
	if i := slices.IndexFunc(listeners, func(l control.Listener) bool { return l.Address == lease.Address }); err != nil || i != 2 || listeners[i].PID != os.Getpid() {
		t.Errorf("listed %+v, %v", listeners, err)
	}
	// A reload keeps it, with the new configuration.
	c := r.config
	c.Listeners = c.Listeners[:1]
	if err := r.agent.Reload(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, base, "X-Vault-Token", r.token); status != 200 {
		t.Errorf("after a reload: %d %s", status, body)
	}
	leave()
	gone(t, lease.Address)

	second, err := r.control().Lease(t.Context(), control.Wanted{Vault: "corp"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.control().Release(t.Context(), second.ID); err != nil {
		t.Error(err)
	}
	gone(t, second.Address)
	third, err := r.control().Lease(t.Context(), control.Wanted{Vault: "corp"})
	if err != nil {
		t.Fatal(err)
	}
	// Without its vault it ends.
	c.Vaults, c.Listeners = slices.Clone(c.Vaults), slices.Clone(c.Listeners)
	c.Vaults[0].Name, c.Listeners[0].Vault = "other", "other"
	if err := r.agent.Reload(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	gone(t, third.Address)
	if _, err := r.control().Lease(t.Context(), control.Wanted{Vault: "corp"}); !errors.Is(err, control.ErrNoVault) {
		t.Errorf("a vault that is gone: %v", err)
	}
}

// A process that is not below the one that asked is refused.
// The agent and the test are one process here, so it is the lease that belongs to
// another: a child asks for it.
func TestPrivateListenerRefusesOthers(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("needs curl that speaks to unix sockets")
	}
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("needs curl")
	}
	r := newRig(t)
	cmd := exec.CommandContext(t.Context(), curl, "-sN", "--unix-socket", filepath.Join(r.dir, "run", agent.ControlSocket),
		"-d", `{"vault":"corp"}`, "http://localhost/v1/listeners")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	answer := string(buf[:n])
	field := func(name string) string {
		_, rest, _ := strings.Cut(answer, `"`+name+`":"`)
		value, _, _ := strings.Cut(rest, `"`)
		return value
	}
	base := "http://" + field("address")
	if status, body := get(t, base, "X-Vault-Token", r.token); status != 403 || !strings.Contains(body, "stepup: this listener serves only the command") {
		t.Errorf("%d %s", status, body)
	}
	// It ends with the process that asked for it.
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	gone(t, strings.TrimPrefix(base, "http://"))
	log, err := os.ReadFile(filepath.Join(r.dir, "audit.jsonl"))
	if err != nil || !strings.Contains(string(log), listener.RefusedTree) {
		t.Errorf("audit log: %v\n%s", err, log)
	}
}

// No credentials let anybody in any more: those of a request are Vault's.
func TestPrivateListenerPassesCredentialsOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	lease, err := r.control().Lease(t.Context(), control.Wanted{Vault: "corp"})
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"Basic c3RlcHVwOmFub3RoZXI=", "Bearer " + r.token} {
		status, body := get(t, "http://"+lease.Address, "X-Vault-Token", r.token, "Authorization", value)
		if status != 200 {
			t.Errorf("%d %s", status, body)
		}
		requests := r.vault.Requests()
		if got := requests[len(requests)-1].Header.Get("Authorization"); got != value {
			t.Errorf("vault got %d bytes of Authorization", len(got))
		}
	}
}

// The socket of a private listener is in the runtime folder for as long as the
// listener is there; one that a killed agent has left is removed.
func TestPrivateSocket(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	lease, err := r.control().Lease(t.Context(), control.Wanted{Network: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if lease.Network != "unix" || filepath.Dir(lease.Address) != filepath.Join(r.dir, "run") {
		t.Errorf("%+v", lease)
	}
	through := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", lease.Address)
	}}}
	resp, err := through.Get("http://localhost/v1/sys/health")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if err := r.control().Release(t.Context(), lease.ID); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(lease.Address); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestObtain(t *testing.T) {
	t.Parallel()
	r := newTokenRig(t)
	ask := func(name, vault string) (control.Obtained, error) {
		return r.control().Obtain(t.Context(), control.Obtain{Rule: name, Vault: vault, Token: secret.Secret(r.token)})
	}
	for _, want := range []string{"approved", "cached"} {
		if got, err := ask("deploy", ""); err != nil || got.Outcome != want || !got.OK() {
			t.Errorf("%s: %+v, %v", want, got, err)
		}
	}
	// What was got beforehand is what the request finds.
	if got := r.do(t, "GET", "/v1/kv/data/deploy/web", "", "X-Vault-Token", r.token); got.status != 200 || got.outcome != "cached" {
		t.Errorf("%+v", got)
	}
	if q := r.asked.Requests(); len(q) != 1 || q[0].Rule != "deploy" || q[0].Path != "" || q[0].Requester.PID != os.Getpid() {
		t.Errorf("asked %+v", q)
	}
	r.person = func(context.Context, prompt.Request) (string, error) { return "", prompt.ErrDenied }
	if got, err := ask("secure", "corp"); err != nil || got.Outcome != "denied" || got.OK() || !strings.HasPrefix(got.Message, "stepup: ") {
		t.Errorf("denied: %+v, %v", got, err)
	}
	if got, err := ask("secure", "corp"); err != nil || got.Outcome != "cooldown" {
		t.Errorf("again: %+v, %v", got, err)
	}
	if _, err := ask("absent", ""); !errors.Is(err, control.ErrNoRule) {
		t.Errorf("absent: %v", err)
	}
	if _, err := ask("deploy", "absent"); !errors.Is(err, control.ErrNoRule) {
		t.Errorf("absent vault: %v", err)
	}
	c := r.config
	c.Rules = append(slices.Clone(c.Rules), rule.Rule{Name: "each", Paths: patterns(t, "kv/data/each/*"), Methods: []string{"corp"}, Grant: rule.Grant{Kind: rule.HeaderGrant}})
	if err := r.agent.Reload(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := ask("each", ""); !errors.Is(err, control.ErrHeaderGrant) {
		t.Errorf("header grant: %v", err)
	}
}

func TestPrivateDir(t *testing.T) {
	t.Parallel()
	parent := filepath.Join(t.TempDir(), "run")
	dir, err := listener.PrivateDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{parent, dir} {
		if info, err := os.Stat(d); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", d, info, err)
		}
	}
	// What a killed agent left goes; what is locked, or young, stays.
	dead, alive := filepath.Join(parent, "exec-dead"), filepath.Join(parent, "exec-alive")
	for _, d := range []string{dead, alive} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	release, err := listener.LockRuntimeDir(alive)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	long := time.Now().Add(-time.Hour)
	for _, d := range []string{dead, alive} {
		if err := os.Chtimes(d, long, long); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := listener.PrivateDir(parent); err != nil {
		t.Fatal(err)
	}
	for d, want := range map[string]bool{dead: false, alive: true, dir: true} {
		if _, err := os.Stat(d); (err == nil) != want {
			t.Errorf("%s: %v", d, err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(parent, link); err != nil {
		t.Skip("needs symbolic links")
	}
	if _, err := listener.PrivateDir(link); !errors.Is(err, listener.ErrUnsafe) {
		t.Errorf("through a link: %v", err)
	}
}

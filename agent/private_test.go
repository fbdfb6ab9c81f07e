package agent_test

import (
	"context"
	"errors"
	"io/fs"
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
	"github.com/vault-stepup/stepup/cache/secret"
)

// gone waits until an address is closed.
func gone(t *testing.T, address string) {
	t.Helper()
	eventually(t, address+" is closed", func() bool {
		resp, err := client.Get("http://" + address + "/v1/sys/health")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err != nil
	})
}

func TestPrivateListener(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	ctx, leave := context.WithCancel(t.Context())
	lease, err := r.control().Lease(ctx, control.Wanted{})
	must(t, err)
	base := "http://" + lease.Address
	check(t, r.at(base).read(t, "kv/data/dev/db"), reply{200, "", ""})
	listeners, err := r.control().Listeners(t.Context())
	if i := slices.IndexFunc(listeners, func(l control.Listener) bool { return l.Address == lease.Address }); err != nil || i != 2 || listeners[i].PID != os.Getpid() {
		t.Errorf("listed %+v, %v", listeners, err)
	}
	// A reload keeps it, with the new configuration.
	c := r.config
	c.Listeners = c.Listeners[:1]
	r.reload(t, c)
	check(t, r.at(base).read(t, "kv/data/dev/db"), reply{200, "", ""})
	leave()
	gone(t, lease.Address)

	second, err := r.control().Lease(t.Context(), control.Wanted{Vault: "corp"})
	must(t, err)
	must(t, r.control().Release(t.Context(), second.ID))
	gone(t, second.Address)
	third, err := r.control().Lease(t.Context(), control.Wanted{Vault: "corp"})
	must(t, err)
	// Without its vault it ends.
	c.Vaults, c.Listeners = slices.Clone(c.Vaults), slices.Clone(c.Listeners)
	c.Vaults[0].Name, c.Listeners[0].Vault = "other", "other"
	r.reload(t, c)
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
	r := newFixture(t)
	cmd := exec.CommandContext(t.Context(), curl, "-sN", "--unix-socket", filepath.Join(r.dir, "run", agent.ControlSocket),
		"-d", `{"vault":"corp"}`, "http://localhost/v1/listeners")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	buf := make([]byte, 4096)
	n, err := out.Read(buf)
	must(t, err)
	base := "http://" + member(t, reply{body: string(buf[:n])}, "address")
	check(t, r.at(base).read(t, "kv/data/dev/db"), reply{403, "stepup: this listener serves only the command", ""})
	// It ends with the process that asked for it.
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	gone(t, strings.TrimPrefix(base, "http://"))
	log, err := os.ReadFile(filepath.Join(r.dir, "audit.jsonl"))
	if err != nil || !strings.Contains(string(log), listener.RefusedTree) {
		t.Errorf("audit log: %v\n%s", err, log)
	}
}

// The credentials of a request are Vault's: the listener asks for none.
func TestPrivateListenerPassesCredentialsOn(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	lease, err := r.control().Lease(t.Context(), control.Wanted{Vault: "corp"})
	must(t, err)
	for _, value := range []string{"Basic c3RlcHVwOmFub3RoZXI=", "Bearer " + r.token} {
		check(t, r.at("http://"+lease.Address).read(t, "kv/data/dev/db", "Authorization", value), reply{200, "", ""})
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
	r := newFixture(t)
	lease, err := r.control().Lease(t.Context(), control.Wanted{Network: "unix"})
	must(t, err)
	if lease.Network != "unix" || filepath.Dir(lease.Address) != filepath.Join(r.dir, "run") {
		t.Errorf("%+v", lease)
	}
	through := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialTo("unix", lease.Address)}}
	resp, err := through.Get("http://localhost/v1/sys/health")
	must(t, err)
	_ = resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	must(t, r.control().Release(t.Context(), lease.ID))
	if _, err := os.Lstat(lease.Address); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestObtain(t *testing.T) {
	t.Parallel()
	r := newTokenFixture(t)
	ask := func(name, vault string) (control.Obtained, error) {
		return r.control().Obtain(t.Context(), control.Obtain{Rule: name, Vault: vault, Token: secret.Secret(r.token)})
	}
	for _, want := range []string{"approved", "cached"} {
		if got, err := ask("deploy", ""); err != nil || got.Outcome != want || !got.OK() {
			t.Errorf("%s: %+v, %v", want, got, err)
		}
	}
	// What was got beforehand is what the request finds.
	check(t, r.read(t, "kv/data/deploy/web"), reply{200, "", "cached"})
	if q := r.asked.Requests(); len(q) != 1 || q[0].Rule != "deploy" || q[0].Path != "" || q[0].Requester.PID != os.Getpid() {
		t.Errorf("asked %+v", q)
	}
	r.person = deny
	if got, err := ask("secure", "corp"); err != nil || got.Outcome != "denied" || got.OK() || !strings.HasPrefix(got.Message, "stepup: ") {
		t.Errorf("denied: %+v, %v", got, err)
	}
	if got, err := ask("secure", "corp"); err != nil || got.Outcome != "cooldown" {
		t.Errorf("again: %+v, %v", got, err)
	}
	r.change(t, func(c *agent.Config) { c.Rules = append(c.Rules, headerRule("each", "kv/data/each/*", "corp")) })
	for asked, want := range map[[2]string]error{
		{"absent", ""}: control.ErrNoRule, {"deploy", "absent"}: control.ErrNoRule, {"each", ""}: control.ErrHeaderGrant,
	} {
		if _, err := ask(asked[0], asked[1]); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", asked, err, want)
		}
	}
}

func TestPrivateDir(t *testing.T) {
	t.Parallel()
	parent := filepath.Join(t.TempDir(), "run")
	dir, err := listener.PrivateDir(parent)
	must(t, err)
	for _, d := range []string{parent, dir} {
		if info, err := os.Stat(d); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", d, info, err)
		}
	}
	// What a killed agent left goes; what is locked, or young, stays.
	dead, alive := filepath.Join(parent, "exec-dead"), filepath.Join(parent, "exec-alive")
	for _, d := range []string{dead, alive} {
		must(t, os.Mkdir(d, 0o700))
	}
	release, err := listener.LockRuntimeDir(alive)
	must(t, err)
	defer release.Release()
	long := time.Now().Add(-time.Hour)
	for _, d := range []string{dead, alive} {
		must(t, os.Chtimes(d, long, long))
	}
	_, err = listener.PrivateDir(parent)
	must(t, err)
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

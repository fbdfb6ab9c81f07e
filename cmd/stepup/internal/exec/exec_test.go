//go:build unix

package exec

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

func TestClientTimeout(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"": "120s", "0": "120s", "60": "120s", "60s": "120s", "120": "120", "2m": "2m", "500": "500", "10m": "10m",
		"1h30m": "1h30m", "-5": "120s", " 30 ": "120s", "soon": "soon", "119999ms": "120s",
	} {
		if got := clientTimeout(value); got != want {
			t.Errorf("clientTimeout(%q) = %q, want %q", value, got, want)
		}
	}
}

// FuzzClientTimeout: what comes out is long enough, or is the value itself
// where that is no time.
func FuzzClientTimeout(f *testing.F) {
	for _, seed := range []string{"", "60", "1h", "119.9s", "-1", "soon", "9999999999999999999", "2562047h"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := clientTimeout(value)
		d, err := time.ParseDuration(got)
		if n, numeric := strconv.Atoi(got); numeric == nil {
			d, err = time.Duration(n)*time.Second, nil
		}
		if err == nil && d < leastTimeout || err != nil && got != strings.TrimSpace(value) {
			t.Errorf("clientTimeout(%q) = %q", value, got)
		}
	})
}

func TestExecEnvironment(t *testing.T) {
	t.Parallel()
	base := []string{
		"HOME=/h", "VAULT_ADDR=https://vault:8200", "VAULT_TOKEN=t", "VAULT_NAMESPACE=ns", "VAULT_PROXY_ADDR=http://proxy",
		"VAULT_CLIENT_TIMEOUT=30", "BAO_CLIENT_TIMEOUT=5m", "STEPUP_ATTACHED=7:/old", "ODD", "=C:=C:\\",
	}
	env := func(name string) string {
		for _, entry := range base {
			if value, ok := strings.CutPrefix(entry, name+"="); ok {
				return value
			}
		}
		return ""
	}
	const a = "http://127.0.0.1:1"
	agents := []string{"BAO_ADDR=" + a, "BAO_AGENT_ADDR=" + a, "BAO_CLIENT_TIMEOUT=5m"}
	vaults := []string{"VAULT_ADDR=" + a, "VAULT_AGENT_ADDR=" + a, "VAULT_CLIENT_TIMEOUT=120s"}
	const direct = "127.0.0.1,localhost,::1"
	kept := []string{"HOME=/h", "VAULT_TOKEN=t", "VAULT_NAMESPACE=ns", "ODD", "=C:=C:\\"}
	for name, tt := range map[string]struct {
		x    execution
		ours []string
	}{
		"running agent": {execution{address: a, runtimeDir: "/run/s"}, nil},
		"own agent":     {execution{address: a, runtimeDir: "/run/s/x", own: true}, []string{"STEPUP_RUNTIME_DIR=/run/s/x"}},
		"asked here":    {execution{address: a, runtimeDir: "/run/s", asker: 99}, []string{"STEPUP_ATTACHED=99:/run/s"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.x.Console = &cli.Console{Env: env}
			want := slices.Concat(kept, agents, []string{"NO_PROXY=" + direct}, tt.ours, vaults, []string{"no_proxy=" + direct})
			if d := cmp.Diff(want, tt.x.environ(base)); d != "" {
				t.Error(d)
			}
		})
	}
}

// The agent is reached without a proxy, whatever else is.
func TestWithoutProxy(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]string{
		"":                             "127.0.0.1,localhost,::1",
		"example.com, .corp":           "example.com,.corp,127.0.0.1,localhost,::1",
		"localhost,,127.0.0.0/8":       "localhost,127.0.0.0/8,127.0.0.1,::1",
		"::1,127.0.0.1,localhost,corp": "::1,127.0.0.1,localhost,corp",
		"*":                            "*",
	} {
		if got := withoutProxy(list); got != want {
			t.Errorf("withoutProxy(%q) = %q, want %q", list, got, want)
		}
	}
}

func TestParseAttached(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]struct {
		pid int
		dir string
		ok  bool
	}{
		attachedValue(12, "/run/a:b"): {12, "/run/a:b", true},
		"":                            {},
		"12":                          {12, "", false},
		"x:/run":                      {0, "/run", false},
		"1:/run":                      {1, "/run", false},
		"-5:/run":                     {-5, "/run", false},
	} {
		pid, dir, ok := parseAttached(value)
		if ok != want.ok || ok && (pid != want.pid || dir != want.dir) {
			t.Errorf("parseAttached(%q) = %d, %q, %t", value, pid, dir, ok)
		}
	}
}

func TestExecChoosesListener(t *testing.T) {
	t.Parallel()
	tcp := control.Listener{Network: "tcp", Address: "127.0.0.1:1", Vault: "corp"}
	strict := control.Listener{Network: "tcp", Address: "127.0.0.1:2", Vault: "corp", RequireHeader: true}
	socket := control.Listener{Network: "unix", Address: "/run/v.sock", Vault: "corp"}
	other := control.Listener{Network: "tcp", Address: "127.0.0.1:3", Vault: "other"}
	private := control.Listener{Network: "tcp", Address: "127.0.0.1:4", Vault: "corp", PID: 12}
	for name, tt := range map[string]struct {
		listeners []control.Listener
		vault     string
		want      string
		code      int
	}{
		"tcp":                {[]control.Listener{socket, strict, tcp}, "", "http://127.0.0.1:1", 0},
		"header":             {[]control.Listener{socket, strict}, "", "http://127.0.0.1:2", 0},
		"socket":             {[]control.Listener{socket}, "", "unix:///run/v.sock", 0},
		"private is no one":  {[]control.Listener{private, tcp}, "", "http://127.0.0.1:1", 0},
		"only private":       {[]control.Listener{private}, "", "", cli.ExitFailed},
		"named":              {[]control.Listener{tcp, other}, "other", "http://127.0.0.1:3", 0},
		"several, not named": {[]control.Listener{tcp, other}, "", "", cli.ExitUsage},
		"unknown":            {[]control.Listener{tcp}, "prod", "", cli.ExitUsage},
		"none":               {nil, "", "", cli.ExitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := &execution{options: options{vault: tt.vault}}
			err := x.choose(tt.listeners)
			a := &cli.Console{Err: &strings.Builder{}}
			if tt.code != 0 && (err == nil || a.Report(err) != tt.code) || tt.code == 0 && err != nil {
				t.Fatalf("choose: %v, want code %d", err, tt.code)
			}
			if tt.code == 0 && x.address != tt.want {
				t.Errorf("address %s, want %s", x.address, tt.want)
			}
		})
	}
}

func TestUpText(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for want, got := range map[string]control.Obtained{
		"stepped up: prod, 9m0s left":                                  {Outcome: "approved", Expires: now.Add(9 * time.Minute)},
		"stepped up already: prod, 1h0m left, for terminal pts/1":      {Outcome: "cached", Expires: now.Add(time.Hour), Scope: "terminal pts/1"},
		"stepped up: prod, 5s left; each request still needs your yes": {Outcome: "approved", Expires: now.Add(5 * time.Second), Confirm: true},
	} {
		if text := upText("prod", got, now); text != want {
			t.Errorf("%q, want %q", text, want)
		}
	}
}

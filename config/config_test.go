package config

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vault-stepup/stepup/agent/rule"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/notice"
	"github.com/vault-stepup/stepup/agent/vault"
)

// fixed is what diagnostics depend on, without anything of this machine.
func fixed() Options {
	return Options{
		Env: func(name string) string {
			return map[string]string{"VAULT_HOST": "vault.example", "HIDDEN": "hvs.topsecret", "EMPTY": "", "FOLDER": os.TempDir()}[name]
		},
		Home: "/home/alice", RuntimeDir: "/run/user/1000/stepup", StateDir: "/home/alice/.local/state/stepup",
		Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			switch host {
			case "me.example":
				return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("127.0.0.1")}, nil
			case "vault.example":
				return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
			}
			return nil, errors.New("no such host")
		},
	}
}

// keyPair writes a self-signed certificate and its key as PEM files.
func keyPair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return write(t, filepath.Join(dir, "corp-ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		write(t, filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
}

func write(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// report is what a person reads.
func report(t *testing.T, d Diagnostics) string {
	t.Helper()
	var b bytes.Buffer
	if err := d.Write(&b, 100, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func pattern(t *testing.T, s string) rule.Pattern {
	t.Helper()
	p, err := rule.ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func compare() cmp.Options {
	return cmp.Options{
		cmp.Comparer(func(a, b rule.Pattern) bool { return a.String() == b.String() }),
		cmp.Comparer(func(a, b *url.URL) bool { return a.String() == b.String() }),
		cmpopts.EquateEmpty(),
	}
}

// The example of the contract, with its one file replaced.
func TestContractExample(t *testing.T) {
	t.Parallel()
	cert, _ := keyPair(t)
	opt := fixed()
	opt.Home = filepath.Dir(cert)
	got, diags := Load("testdata/contract.hcl", opt)
	if diags.HasErrors() {
		t.Fatal(report(t, diags))
	}
	want := &agent.Config{
		File: "testdata/contract.hcl", Files: []string{"testdata/contract.hcl"},
		Vaults: []agent.Vault{{
			Name: "corp", Address: &url.URL{Scheme: "https", Host: "vault.corp.example:8200"},
			TLS: vault.TLS{CACert: cert}, MaxBody: 1 << 20, Timeout: 150 * time.Second, IdleTimeout: 30 * time.Second,
		}},
		Listeners: []agent.Listener{
			{Network: "tcp", Address: "127.0.0.1:8100", Vault: "corp"},
			{Network: "unix", Address: "/run/user/1000/stepup/vault.sock", Vault: "corp"},
		},
		Methods: []agent.Method{{
			Name: "corp_totp", Type: "totp", Digits: 6,
			PasscodeCommand: []string{"ykman", "oath", "accounts", "code", "-s", "Vault"},
		}},
		Rules: rule.Rules{
			{
				Name: "prod-kv", Paths: []rule.Pattern{pattern(t, "kv/data/prod/*"), pattern(t, "transit/sign/+")},
				Capabilities: []rule.Operation{rule.Read, rule.Update}, Methods: []string{"corp_totp"},
				Grant: rule.Grant{Kind: rule.HeaderGrant},
			},
			{
				Name: "prod-deploy", Paths: []rule.Pattern{pattern(t, "kv/data/deploy/*")}, Methods: []string{"corp_totp"},
				Grant: rule.Grant{
					Kind: rule.TokenGrant, Path: "auth/token/create/prod-stepup",
					Policies: []string{"prod-stepup"}, TTL: 5 * time.Minute,
				},
			},
			{
				Name: "secure", Paths: []rule.Pattern{pattern(t, "kv/data/secure/*")},
				Grant: rule.Grant{Kind: rule.LoginGrant, Path: "auth/stepup/login/alice", Password: "prompt", MaxTTL: 10 * time.Minute},
			},
		},
		LoginMFA: agent.LoginMFA{
			Enabled: true, Prefer: []string{"corp_totp"},
			LegacyMounts: []string{"auth/ldap"}, OktaMounts: []string{"auth/okta"},
		},
		Prompt: agent.Prompt{
			Use: []string{"attached", "desktop", "terminal"}, Command: []string{"/usr/local/bin/my-askpass"},
			Timeout: 55 * time.Second, Attempts: 3, Cooldown: 30 * time.Second, MaxPending: 64, Detached: "ask", Notify: notice.First,
		},
		Cache:     agent.Cache{Store: "keyring", MaxTTL: 15 * time.Minute, LockOn: []string{"sleep", "screen_lock"}},
		Relay:     agent.Relay{MaxKeptBodies: 64 << 20, Express: true},
		Audit:     audit.Config{File: "/home/alice/.local/state/stepup/audit.jsonl"},
		Telemetry: agent.Telemetry{Address: "127.0.0.1:9108"},
		Log:       agent.Log{Level: slog.LevelInfo, Format: "text"},
	}
	if diff := cmp.Diff(want, got, compare()); diff != "" {
		t.Errorf("decoded differently (-want +got):\n%s", diff)
	}
	warnings := []string{
		`testdata/contract.hcl:48: command has no effect, because use does not name "command"`,
	}
	if diff := cmp.Diff(warnings, diags.Warnings()); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

const minimal = `
vault "main" { address = "https://vault.example:8200" }
listener "tcp" { address = "127.0.0.1:8100" }
`

func TestDefaults(t *testing.T) {
	t.Parallel()
	got, diags := Parse("stepup.hcl", []byte(minimal), fixed())
	if len(diags.All()) > 0 {
		t.Fatal(report(t, diags))
	}
	want := &agent.Config{
		File: "stepup.hcl", Files: []string{"stepup.hcl"},
		Vaults: []agent.Vault{{
			Name: "main", Address: &url.URL{Scheme: "https", Host: "vault.example:8200"},
			MaxBody: 1 << 20, Timeout: 150 * time.Second, IdleTimeout: 30 * time.Second,
		}},
		Listeners: []agent.Listener{{Network: "tcp", Address: "127.0.0.1:8100", Vault: "main"}},
		LoginMFA:  agent.LoginMFA{Enabled: true},
		Prompt: agent.Prompt{
			Use: []string{"attached", "desktop", "terminal"}, Timeout: 55 * time.Second,
			Attempts: 3, Cooldown: 30 * time.Second, MaxPending: 64, Detached: "ask", Notify: notice.First,
		},
		Cache: agent.Cache{Store: "keyring", MaxTTL: 15 * time.Minute, LockOn: []string{"sleep"}},
		Relay: agent.Relay{MaxKeptBodies: 64 << 20, Express: true},
		Log:   agent.Log{Level: slog.LevelInfo, Format: "text"},
	}
	if diff := cmp.Diff(want, got, compare()); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

// Everything that has no place in the contract's example.
func TestEveryArgument(t *testing.T) {
	t.Parallel()
	cert, key := keyPair(t)
	opt := fixed()
	opt.Home = filepath.Dir(cert)
	src := `
vault "a" {
  address         = "https://${env.VAULT_HOST}:8200/"
  namespace       = "team-a"
  ca_path         = "${home}"
  client_cert     = "${home}/` + filepath.Base(cert) + `"
  client_key      = "${home}/` + filepath.Base(key) + `"
  tls_server_name = "vault"
  tls_skip_verify = true
  max_kept_body   = "512KiB"
  timeout         = "200s"
  idle_timeout    = "45s"
}
vault "b" {
  address       = "unix:///run/vault.sock"
  max_kept_body = 0
}
listener "tcp" {
  address = "localhost:8100"
  vault   = "a"
  require_request_header = true
}
listener "tcp" {
  address = "[::1]:8100"
  vault   = "b"
}
mfa_method "x" {
  type            = "duo"
  digits          = 8
  passcode_source = "keyring"
}
mfa_method "y" {
  type     = "duo"
  passcode = true
}
step_up "s" {
  paths = ["a"]
  sentinel "root/pay" { methods = ["x", "y"] }
  sentinel "hr" { methods = ["y"] }
  grant "header" {}
}
step_up "r" {
  vault     = "b"
  paths     = ["/a/+/b"]
  namespace = "root"
  methods   = ["x"]
  grant "token" {
    path           = "/auth/token/create"
    num_uses       = 3
    no_parent      = true
    eager          = true
    max_ttl        = "1m"
    revoke_on_stop = true
  }
}
step_up "l" {
  paths  = ["b"]
  prompt = "never"
  grant "login" {
    path           = "auth/userpass/login/bob"
    command        = ["pass", "show", "vault"]
    eager          = true
    revoke_on_stop = true
  }
}
login_mfa { enabled = false }
prompt {
  use          = ["command"]
  command      = ["ask"]
  confirm_push = true
  max_pending  = 2
  attempts     = 1
  never        = ["cron", "jenkins*"]
  detached     = "never"
  notify       = "each"
}
cache {
  store   = "memory"
  lock_on = []
}
relay {
  max_kept_bodies = "256MiB"
  express         = false
}
log {
  level  = "error"
  format = "json"
}
`
	got, diags := Parse("stepup.hcl", []byte(src), opt)
	if diags.HasErrors() {
		t.Fatal(report(t, diags))
	}
	want := &agent.Config{
		File: "stepup.hcl", Files: []string{"stepup.hcl"},
		Vaults: []agent.Vault{
			{
				Name: "a", Address: &url.URL{Scheme: "https", Host: "vault.example:8200"}, Namespace: "team-a",
				TLS:     vault.TLS{CAPath: opt.Home, ClientCert: cert, ClientKey: key, ServerName: "vault", SkipVerify: true},
				MaxBody: 512 << 10, Timeout: 200 * time.Second, IdleTimeout: 45 * time.Second,
			},
			{Name: "b", Address: &url.URL{Scheme: "unix", Path: "/run/vault.sock"}, Timeout: 150 * time.Second, IdleTimeout: 30 * time.Second},
		},
		Listeners: []agent.Listener{
			{Network: "tcp", Address: "127.0.0.1:8100", Vault: "a", RequireHeader: true},
			{Network: "tcp", Address: "[::1]:8100", Vault: "b"},
		},
		Methods: []agent.Method{{Name: "x", Type: "duo", Digits: 8, PasscodeSource: "keyring"}, {Name: "y", Type: "duo", Passcode: true}},
		Rules: rule.Rules{
			{
				Name: "s", Paths: []rule.Pattern{pattern(t, "a")}, Grant: rule.Grant{Kind: rule.HeaderGrant},
				Sentinel: []rule.Policy{{Name: "root/pay", Methods: []string{"x", "y"}}, {Name: "hr", Methods: []string{"y"}}},
			},
			{
				Name: "r", Vault: "b", Paths: []rule.Pattern{pattern(t, "a/+/b")}, Namespace: "root", Methods: []string{"x"},
				Grant: rule.Grant{
					Kind: rule.TokenGrant, Path: "auth/token/create", NumUses: 3, NoParent: true, Eager: true,
					MaxTTL: time.Minute, RevokeOnStop: true,
				},
			},
			{
				Name: "l", Paths: []rule.Pattern{pattern(t, "b")}, Silent: true,
				Grant: rule.Grant{
					Kind: rule.LoginGrant, Path: "auth/userpass/login/bob", PasswordCommand: []string{"pass", "show", "vault"},
					Eager: true, RevokeOnStop: true,
				},
			},
		},
		Prompt: agent.Prompt{
			Use: []string{"command"}, Command: []string{"ask"}, Timeout: 55 * time.Second, Attempts: 1,
			Cooldown: 30 * time.Second, ConfirmPush: true, MaxPending: 2, Never: []string{"cron", "jenkins*"}, Detached: "never",
			Notify: notice.Each,
		},
		Cache: agent.Cache{Store: "memory", MaxTTL: 15 * time.Minute},
		Relay: agent.Relay{MaxKeptBodies: 256 << 20, Express: false},
		Log:   agent.Log{Level: slog.LevelError, Format: "json"},
	}
	if diff := cmp.Diff(want, got, compare()); diff != "" {
		t.Errorf("decoded differently (-want +got):\n%s", diff)
	}
}

func TestLogLevels(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	} {
		if got := parsed(t, head+`log { level = "`+word+`" }`).Log.Level; got != want {
			t.Errorf("%s is %v", word, got)
		}
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{
		"1MiB": 1 << 20, "512 KiB": 512 << 10, "2GiB": 2 << 30, "7B": 7, "0": 0,
		"1MB": -1, "1.5MiB": -1, "-1": -1, "99999999999GiB": -1, "MiB": -1, "": -1, // refused
	} {
		if got, ok := parseSize(in); ok != (want >= 0) || ok && got != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", in, got, ok, want)
		}
	}
}

// Without folders, Options take them from the environment that Env gives.
func TestOptionsFromEnv(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	opt := Options{Env: func(name string) string {
		return map[string]string{"STEPUP_RUNTIME_DIR": dir, "STEPUP_STATE_DIR": dir, "HOME": dir, "USERPROFILE": dir}[name]
	}}
	src := "vault \"a\" { address = \"https://vault.example\" }\nlistener \"unix\" { address = \"${runtime_dir}/v\" }\naudit { file = \"${home}/a\" }"
	cfg, diags := Parse("stepup.hcl", []byte(src), opt)
	if diags.HasErrors() {
		t.Fatal(report(t, diags))
	}
	if cfg.Listeners[0].Address != filepath.Join(dir, "v") || cfg.Audit.File != filepath.Join(dir, "a") {
		t.Errorf("%+v, %+v", cfg.Listeners, cfg.Audit)
	}
}

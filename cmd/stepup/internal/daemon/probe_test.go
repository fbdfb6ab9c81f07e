package daemon

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// A vaultServer says of itself what a test wants.
type vaultServer struct {
	version string
	mounts  string // JSON of data.auth; "" refuses
}

// ServeHTTP implements http.Handler.
func (v vaultServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("X-Vault-Token") != "":
		http.Error(w, "a token was sent", http.StatusTeapot)
	case r.URL.Path == "/v1/sys/health":
		fmt.Fprintf(w, `{"initialized":true,"sealed":false,"server_time_utc":1764400000,"version":%q}`, v.version)
	case v.mounts == "":
		http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
	default:
		fmt.Fprintf(w, `{"data":{"auth":%s,"secret":{}}}`, v.mounts)
	}
}

// initialise runs config init against an address, and returns what it says and writes.
func initialise(t *testing.T, address string, env map[string]string) (out, errors, file string) {
	t.Helper()
	env["VAULT_TOKEN"], env["HOME"] = "hvs.never", t.TempDir()
	var stdout, stderr bytes.Buffer
	path := filepath.Join(t.TempDir(), "stepup.hcl")
	c := &cli.Console{ConfigFlag: path, Out: &stdout, Err: &stderr, Env: func(name string) string { return env[name] }}
	cmd := Config(c)
	cmd.SetArgs([]string{"init", "--address", address})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return stdout.String(), stderr.String(), string(raw)
}

func TestInitLooks(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		server vaultServer
		found  []string // about the server
		file   []string // lines in it
	}{
		"mounts": {
			vaultServer{"1.21.0", `{"userpass/":{"type":"userpass"},"okta/":{"type":"okta"}}`},
			[]string{
				"it is up, version 1.21.0",
				"a login held for a second factor is completed, on these auth methods and those that it does not show:",
				"  auth/okta (okta)", "  auth/userpass (userpass)", "the file proposes okta_mounts: shows the number to tap",
			},
			[]string{`  # okta_mounts = ["auth/okta"] # shows the number to tap`},
		},
		"an old one": {
			vaultServer{"1.9.10+ent", `{"corp/ldap/":{"type":"ldap"},"jwt/":{"type":"oidc"}}`},
			[]string{
				"it is up, version 1.9.10+ent",
				"a login held for a second factor is completed, on these auth methods and those that it does not show:",
				"  auth/corp/ldap (ldap)", "  auth/jwt (oidc)", "the file proposes legacy_mounts: if they use the MFA of before Vault 1.11",
			},
			[]string{`  # legacy_mounts = ["auth/corp/ldap"] # if they use the MFA of before Vault 1.11`},
		},
		"nothing shown": {
			vaultServer{"2.6.2", `{}`},
			[]string{"it is up, version 2.6.2", "it shows no auth methods without a token; a login held for a second factor is completed on all of them"},
			nil,
		},
		"refused": {
			vaultServer{"1.21.0", ""},
			[]string{"it is up, version 1.21.0", "its auth methods cannot be listed: vault answered 403: permission denied"},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(tt.server)
			t.Cleanup(server.Close)
			out, errors, file := initialise(t, server.URL, map[string]string{})
			_, about, _ := strings.Cut(out, "for the Vault server at "+server.URL+"\n")
			about, _, _ = strings.Cut(about, "\n\nnext:\n")
			want := "  " + strings.Join(tt.found, "\n  ")
			if diff := cmp.Diff(want, about); diff != "" || errors != "" {
				t.Errorf("errors %q, found (-want +got):\n%s", errors, diff)
			}
			for _, line := range tt.file {
				if !strings.Contains(file, "\n"+line+"\n") {
					t.Errorf("no line %s in\n%s", line, file)
				}
			}
		})
	}
}

// What cannot be reached or trusted is said, and the file is there.
func TestInitWithoutAnswer(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(vaultServer{"1.21.0", `{}`})
	server.Config.ErrorLog = quiet()
	server.StartTLS()
	t.Cleanup(server.Close)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pemOf(server.Certificate().Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		address string
		env     map[string]string
		errors  string // a part of them
		out     string
		file    string
	}{
		"nothing there":     {"http://127.0.0.1:1", nil, "warning: the server cannot be asked: ", "stepup config check", "127.0.0.1:1"},
		"unknown authority": {server.URL, nil, "name the PEM file of its authority by ca_cert in the vault block", "stepup agent", server.URL},
		"its authority":     {server.URL, map[string]string{"VAULT_CACERT": authority}, "", "it is up, version 1.21.0", `  ca_cert = "` + authority + `"`},
		"namespace and name": {
			server.URL, map[string]string{"VAULT_CACERT": authority, "VAULT_NAMESPACE": "team/a", "VAULT_TLS_SERVER_NAME": "example.com"}, "",
			"namespace = team/a, from the environment", `  tls_server_name = "example.com"`,
		},
		"no such authority": {server.URL, map[string]string{"VAULT_CACERT": "/nowhere/ca.pem"}, "warning: VAULT_CACERT is left out: ", "stepup agent", server.URL},
		"half a pair":       {server.URL, map[string]string{"VAULT_CACERT": authority, "VAULT_CLIENT_CERT": authority}, "warning: VAULT_CLIENT_CERT is left out: ", "it is up", "ca_cert"},
		"no checks at all":  {"http://127.0.0.1:1", map[string]string{"VAULT_SKIP_VERIFY": "1"}, "warning: VAULT_SKIP_VERIFY is left out", "", "127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := map[string]string{}
			for k, v := range tt.env {
				env[k] = v
			}
			out, errors, file := initialise(t, tt.address, env)
			if !strings.Contains(errors, tt.errors) || tt.errors == "" && errors != "" {
				t.Errorf("errors %q, want %q", errors, tt.errors)
			}
			if !strings.Contains(out, tt.out) || !strings.Contains(file, tt.file) {
				t.Errorf("output\n%s\nfile\n%s", out, file)
			}
		})
	}
}

func TestLegacy(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{"1.10.3": true, "1.9.0+ent": true, "1.0.0": true, "1.11.0": false, "1.21.0": false, "2.6.2": false, "": false, "1.": false} {
		if got := legacy(version); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func pemOf(certificate []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
}

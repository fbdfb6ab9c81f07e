package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vault-stepup/stepup/e2e/clientbin"
)

// needClient skips what "go run ./getclients" has not made.
func needClient(t *testing.T, c clientbin.Client) string {
	t.Helper()
	found, err := c.Find()
	if errors.Is(err, clientbin.ErrMissing) {
		t.Skipf("needs %s: run \"go run ./getclients\" in e2e first (a few minutes, once)", c.Name)
	}
	check(t, err)
	return found
}

// keys are the names of the secrets in the KV engine at secret/.
func (v visit) keys() []string {
	keys := make([]string, len(v.paths))
	for i, path := range v.paths {
		keys[i] = short(path)
	}
	return keys
}

func readByCLI(t *testing.T, v visit) result {
	t.Helper()
	vault := program{path: world.vault, env: v.env(t)}
	if v.token == "" {
		vault.ok(t, v.user.loginArgs()...)
	}
	secret := []string{"-mount=secret", v.keys()[0]}
	if v.blind { // it asks for the mount alone, of which the token sees nothing
		secret = []string{"secret/" + v.keys()[0]}
	}
	return vault.run(t, append([]string{"kv", "get", "-field=key"}, secret...)...)
}

func readByAPI(t *testing.T, v visit) result {
	t.Helper()
	client, err := needVault(t).client(v.addr, v.token)
	check(t, err)
	if v.token == "" {
		login, err := client.Logical().WriteWithContext(t.Context(), "auth/userpass/login/"+v.user.name, map[string]any{"password": v.user.password})
		check(t, err)
		client.SetToken(login.Auth.ClientToken)
	}
	keys := v.keys()
	values, errs := make([]string, len(keys)), make([]error, len(keys))
	var all sync.WaitGroup
	for i, key := range keys {
		all.Go(func() {
			secret, err := client.KVv2("secret").Get(t.Context(), key)
			if errs[i] = err; err == nil {
				values[i], _ = secret.Data["key"].(string)
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return result{stderr: err.Error(), code: 1}
	}
	return result{stdout: distinct(values)}
}

// distinct are the different values, a line for each.
func distinct(values []string) string {
	slices.Sort(values)
	return strings.Join(slices.Compact(values), "\n")
}

func readByVaultClientGo(t *testing.T, v visit) result {
	t.Helper()
	return program{path: needClient(t, clientbin.VaultClientGo()), env: v.env(t)}.run(t)
}

func readByConsulTemplate(t *testing.T, v visit) result {
	t.Helper()
	bin := needClient(t, clientbin.ConsulTemplate())
	dir := tempDir(t)
	in, out := filepath.Join(dir, "in.tpl"), filepath.Join(dir, "out")
	write(t, in, template(v.paths))
	r := program{path: bin, env: v.env(t)}.run(t, "-once", "-vault-renew-token=false", "-vault-retry=false", "-template", in+":"+out)
	return r.withFile(t, out)
}

// template has a line for each secret.
func template(paths []string) string {
	var b strings.Builder
	for _, path := range paths {
		fmt.Fprintf(&b, "{{ with secret %q }}{{ .Data.data.key }}{{ end }}\n", path)
	}
	return b.String()
}

// withFile is a success with the different lines of a file.
func (r result) withFile(t *testing.T, file string) result {
	t.Helper()
	if r.code != 0 {
		return r
	}
	text, err := os.ReadFile(file)
	check(t, err)
	return result{stdout: distinct(strings.Fields(string(text)))}
}

// readByTerraform runs the provider as usual; the program that speaks to
// Vault is the provider's own.
func readByTerraform(t *testing.T, v visit) result {
	t.Helper()
	terraform, provider := needClient(t, clientbin.Terraform()), needClient(t, clientbin.VaultProvider())
	dir := tempDir(t)
	login := ""
	if v.token == "" {
		login = fmt.Sprintf(`
  auth_login {
    path       = "auth/userpass/login/%s"
    parameters = { password = %q }
  }
`, v.user.name, v.user.password)
	}
	write(t, filepath.Join(dir, "main.tf"), fmt.Sprintf(`
terraform {
  required_providers {
    vault = { source = "hashicorp/vault" }
  }
}
provider "vault" {
  skip_child_token = true
  %s
}
data "vault_generic_secret" "db" {
  for_each = toset([%s])
  path     = "secret/${each.key}"
}
output "keys" {
  value     = distinct([for s in data.vault_generic_secret.db : s.data["key"]])
  sensitive = true
}
`, login, quoted(v.keys())))
	config := filepath.Join(dir, "terraform.rc")
	write(t, config, fmt.Sprintf(`provider_installation {
  dev_overrides { "hashicorp/vault" = %q }
  direct {}
}
`, filepath.Dir(provider)))
	tf := program{path: terraform, env: append(v.env(t), "TF_CLI_CONFIG_FILE="+config, "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1")}
	if r := tf.run(t, "-chdir="+dir, "apply", "-auto-approve", "-input=false", "-no-color"); r.code != 0 {
		return r
	}
	var keys []string
	out := tf.ok(t, "-chdir="+dir, "output", "-json", "keys").stdout
	if err := json.Unmarshal([]byte(out), &keys); err != nil {
		t.Fatalf("terraform output: %v\n%s", err, out)
	}
	return result{stdout: distinct(keys)}
}

func readByAgentTemplate(t *testing.T, v visit) result {
	t.Helper()
	dir := tempDir(t)
	token, out, config := filepath.Join(dir, "token"), filepath.Join(dir, "out"), filepath.Join(dir, "agent.hcl")
	write(t, token, v.token)
	write(t, config, fmt.Sprintf(`
exit_after_auth = true
vault {
  address = %q
  retry { num_retries = -1 }
}
auto_auth {
  method "token_file" { config = { token_file_path = %q } }
}
template_config { exit_on_retry_failure = true }
template {
  contents    = %q
  destination = %q
}
`, v.addr, token, template(v.paths), out))
	return program{path: world.vault, env: cleanEnv(dir)}.run(t, "agent", "-config="+config).withFile(t, out)
}

func readByProxy(t *testing.T, v visit) result {
	t.Helper()
	v.addr, v.socket = startProxy(t, v.addr), ""
	return readByCLI(t, v)
}

// startProxy runs Vault Proxy in front of addr and returns its own address.
func startProxy(t *testing.T, addr string) string {
	t.Helper()
	port, dir := mustPort(t), tempDir(t)
	config := filepath.Join(dir, "proxy.hcl")
	write(t, config, fmt.Sprintf(`
vault { address = %q }
api_proxy { use_auto_auth_token = false }
listener "tcp" {
  address     = %q
  tls_disable = true
}
`, addr, port))
	proxy := program{path: world.vault, env: cleanEnv(dir), serves: true}.start(t, "proxy", "-config="+config)
	eventually(t, "vault proxy answers", func() bool {
		if proxy.ended() {
			t.Fatalf("vault proxy has ended: %+v", proxy.wait(t))
		}
		resp, err := http.Get("http://" + port + "/v1/sys/seal-status")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return "http://" + port
}

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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

// key is the name of the secret in the KV engine at secret/.
func (v visit) key() string { return strings.TrimPrefix(v.path, "secret/data/") }

func readByCLI(t *testing.T, v visit) result {
	t.Helper()
	vault := program{path: world.vault, env: v.env(t)}
	if v.token == "" {
		vault.ok(t, v.user.loginArgs()...)
	}
	return vault.run(t, "kv", "get", "-mount=secret", "-field=key", v.key())
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
	secret, err := client.KVv2("secret").Get(t.Context(), v.key())
	if err != nil {
		return result{stderr: err.Error(), code: 1}
	}
	value, _ := secret.Data["key"].(string)
	return result{stdout: value}
}

func readByConsulTemplate(t *testing.T, v visit) result {
	t.Helper()
	bin := needClient(t, clientbin.ConsulTemplate())
	dir := tempDir(t)
	in, out := filepath.Join(dir, "in.tpl"), filepath.Join(dir, "out")
	write(t, in, template(v.path))
	r := program{path: bin, env: v.env(t)}.run(t, "-once", "-vault-renew-token=false", "-vault-retry=false", "-template", in+":"+out)
	return r.withFile(t, out)
}

func template(path string) string {
	return fmt.Sprintf("{{ with secret %q }}{{ .Data.data.key }}{{ end }}", path)
}

// withFile is a success with the content of a file.
func (r result) withFile(t *testing.T, file string) result {
	t.Helper()
	if r.code != 0 {
		return r
	}
	text, err := os.ReadFile(file)
	check(t, err)
	return result{stdout: string(text)}
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
  path = %q
}
output "key" {
  value     = data.vault_generic_secret.db.data["key"]
  sensitive = true
}
`, login, "secret/"+v.key()))
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
	var key string
	out := tf.ok(t, "-chdir="+dir, "output", "-json", "key").stdout
	if err := json.Unmarshal([]byte(out), &key); err != nil {
		t.Fatalf("terraform output: %v\n%s", err, out)
	}
	return result{stdout: key}
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
`, v.addr, token, template(v.path), out))
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

package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/e2e/clientbin"
)

// installed skips what the machine does not have.
func installed(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip("needs " + name)
	}
	return path
}

// readByLibrary runs the script of an npm package.
func readByLibrary(c clientbin.Client) func(*testing.T, visit) result {
	return func(t *testing.T, v visit) result {
		t.Helper()
		node, modules := installed(t, "node"), needClient(t, c)
		env := append(v.env(t), "NODE_PATH="+filepath.Join(modules, "node_modules"))
		return program{path: node, env: env}.run(t, filepath.Join("clients", c.Name, "read.js"))
	}
}

func readByFetch(t *testing.T, v visit) result {
	t.Helper()
	return program{path: installed(t, "node"), env: v.env(t)}.run(t, "clients/fetch/read.js")
}

func readByPython(t *testing.T, v visit) result {
	t.Helper()
	return program{path: installed(t, "python3"), env: v.env(t)}.run(t, "clients/python/read.py")
}

// systemPython is the one that Debian's packages are for.
func systemPython(t *testing.T, module, debian string) string {
	t.Helper()
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import "+module).Run(); err != nil {
		t.Skipf("needs %s (%s on Debian) for %s", module, debian, python)
	}
	return python
}

func readByHvac(t *testing.T, v visit) result {
	t.Helper()
	return program{path: systemPython(t, "hvac", "python3-hvac"), env: v.env(t)}.run(t, "clients/hvac/read.py")
}

func readByAnsible(t *testing.T, v visit) result {
	t.Helper()
	systemPython(t, "ansible_collections.community.hashi_vault, hvac", "ansible and python3-hvac")
	playbook, out := installed(t, "ansible-playbook"), filepath.Join(tempDir(t), "out")
	env := append(v.env(t), "STEPUP_OUT="+out, "ANSIBLE_HASHI_VAULT_TIMEOUT=120", "ANSIBLE_LOCALHOST_WARNING=false")
	if v.token == "" {
		env = append(env, "ANSIBLE_HASHI_VAULT_AUTH_METHOD=userpass", "ANSIBLE_HASHI_VAULT_USERNAME="+v.user.name, "ANSIBLE_HASHI_VAULT_PASSWORD="+v.user.password)
	}
	return program{path: playbook, env: env}.run(t, "clients/ansible/read.yml").withFile(t, out)
}

// readBySops decrypts a file whose key a transit key of Vault has encrypted. The file has
// the address of the real Vault: VAULT_ADDR would not be read.
func readBySops(t *testing.T, v visit) result {
	t.Helper()
	sops := needClient(t, clientbin.Sops())
	srv, name := needVault(t), filepath.Base(v.cipher)
	srv.transitKey(t, name)
	dir := tempDir(t)
	plain, sealed := filepath.Join(dir, "plain.yaml"), filepath.Join(dir, "sealed.yaml")
	write(t, plain, "key: value\n")
	root := program{path: sops, env: cleanEnv(dir, "VAULT_TOKEN=root")}
	root.ok(t, "encrypt", "--hc-vault-transit", srv.addr+"/v1/transit/keys/"+name, "--output", sealed, plain)
	mine := program{path: sops, env: append(v.env(t), "VAULT_AGENT_ADDR="+v.addr)}
	return mine.run(t, "decrypt", "--extract", `["key"]`, sealed)
}

func readByVals(t *testing.T, v visit) result {
	t.Helper()
	var refs strings.Builder
	options := ""
	if v.token == "" {
		options = "?auth_method=userpass&username=" + v.user.name + "&password_env=STEPUP_PASSWORD"
	}
	for i, key := range v.keys() {
		fmt.Fprintf(&refs, "k%d: ref+vault://secret/%s%s#/key\n", i, key, options)
	}
	file := filepath.Join(tempDir(t), "refs.yaml")
	write(t, file, refs.String())
	r := program{path: needClient(t, clientbin.Vals()), env: v.env(t)}.run(t, "eval", "-f", file)
	if r.code == 0 {
		var values []string
		for line := range strings.Lines(r.stdout) {
			_, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			values = append(values, value)
		}
		r.stdout = distinct(values)
	}
	return r
}

func readByCurl(t *testing.T, v visit) result {
	t.Helper()
	token := v.token
	if token == "" {
		body := fmt.Sprintf("data = %q", fmt.Sprintf(`{"password":%q}`, v.user.password))
		login := curl(t, v, "auth/userpass/login/"+v.user.name, body)
		if login.code != 0 {
			return login
		}
		token, _ = dig(login.fields(t), "auth", "client_token").(string)
	}
	r := curl(t, v, v.paths[0], `header = "`+tokenHeader(token)+`"`)
	if r.code == 0 {
		r.stdout, _ = dig(r.fields(t), "data", "data", "key").(string)
	}
	return r
}

// curl gets what is secret on standard input: its arguments can be seen by all.
func curl(t *testing.T, v visit, path, option string) result {
	t.Helper()
	args := []string{"--silent", "--show-error", "--fail-with-body", "--config", "-"}
	base := v.addr
	if v.socket != "" {
		base = "http://localhost"
		args = append(args, "--unix-socket", v.socket)
	}
	p := program{path: installed(t, "curl"), env: v.env(t), stdin: option + "\n"}
	return p.run(t, append(args, base+"/v1/"+path)...)
}

package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
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

func readByNode(t *testing.T, v visit) result {
	t.Helper()
	node, modules := installed(t, "node"), needClient(t, clientbin.NodeVault())
	script, err := filepath.Abs("clients/node-vault/read.js")
	check(t, err)
	env := append(v.env(t), "NODE_PATH="+filepath.Join(modules, "node_modules"))
	return program{path: node, env: env}.run(t, script)
}

func readByPython(t *testing.T, v visit) result {
	t.Helper()
	return program{path: installed(t, "python3"), env: v.env(t)}.run(t, "clients/python/read.py")
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
	r := curl(t, v, v.path, `header = "`+tokenHeader(token)+`"`)
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

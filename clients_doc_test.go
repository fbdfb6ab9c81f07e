package stepup_test

import (
	"regexp"
	"strings"
	"testing"
)

// The table of clients names the versions that the tests in e2e run.
func TestClientVersions(t *testing.T) {
	t.Parallel()
	rows := map[string]string{}
	for line := range strings.Lines(readText(t, "docs/clients.md")) {
		if cells := strings.Split(line, " | "); strings.HasPrefix(line, "| ") && len(cells) > 2 {
			rows[strings.TrimSuffix(strings.TrimPrefix(cells[0], "| "), " ✓")] = cells[0] + " " + cells[1] + " "
		}
	}
	const (
		server    = "e2e/go.mod"
		clients   = "e2e/clients/"
		vault     = `\sgithub\.com/hashicorp/vault v(\S+)`
		terraform = "Terraform 1.5.7 with the Vault provider"
	)
	for _, test := range []struct{ row, file, pattern string }{
		{"vault CLI", server, vault},
		{"vault/api (Go)", server, `\sgithub\.com/hashicorp/vault/api v(\S+)`},
		{"consul-template", clients + "consul-template/go.mod", `\sgithub\.com/hashicorp/consul-template v(\S+)`},
		{terraform, clients + "terraform/go.mod", `\sgithub\.com/hashicorp/terraform v(\S+)`},
		{terraform, clients + "terraform-provider-vault/go.mod", `\sgithub\.com/hashicorp/terraform-provider-vault v(\S+)`},
		{"Vault Agent, templates", server, vault},
		{"Vault Proxy in front of stepup", server, vault},
		{"Vault Proxy behind stepup", server, vault},
		{"node-vault", clients + "node-vault/package-lock.json", `"node_modules/node-vault": \{\s*"version": "([^"]+)"`},
		{"vault-client-go", clients + "vault-client-go/go.mod", `\sgithub\.com/hashicorp/vault-client-go v(\S+)`},
		{"sops, Vault transit", clients + "sops/go.mod", `\sgithub\.com/getsops/sops/v3 v(\S+)`},
		{"vals", clients + "vals/go.mod", `\sgithub\.com/helmfile/vals v(\S+)`},
		{"hashi-vault-js", clients + "hashi-vault-js/package-lock.json", `"node_modules/hashi-vault-js": \{\s*"version": "([^"]+)"`},
		{"node-vault-client", clients + "node-vault-client/package-lock.json", `"node_modules/node-vault-client": \{\s*"version": "([^"]+)"`},
		{"vault-api", clients + "vault-api/package-lock.json", `"node_modules/vault-api": \{\s*"version": "([^"]+)"`},
	} {
		m := regexp.MustCompile(test.pattern).FindStringSubmatch(readText(t, test.file))
		switch row := rows[test.row]; {
		case m == nil:
			t.Errorf("%s has no version for %s", test.file, test.row)
		case row == "":
			t.Errorf("docs/clients.md has no row for %s", test.row)
		case !regexp.MustCompile(`[ |]` + regexp.QuoteMeta(m[1]) + `[ ,]`).MatchString(row):
			t.Errorf("docs/clients.md: %s does not name version %s of %s", test.row, m[1], test.file)
		}
	}
	for _, name := range []string{"node-vault", "hashi-vault-js", "node-vault-client", "vault-api"} {
		if lock := readText(t, clients+name+"/package-lock.json"); strings.Contains(lock, `"resolved"`) {
			t.Errorf("the package-lock.json of %s says where packages were fetched from; npm has a registry of its own on every machine", name)
		}
	}
}

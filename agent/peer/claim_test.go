package peer

import (
	"strings"
	"testing"
)

func TestClaim(t *testing.T) {
	t.Parallel()
	const folder = "/home/a/shop"
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"curl", []string{"curl", "-H", "X-Vault-Token: hvs.secret"}},
		{"vault kv", []string{"/usr/bin/vault", "kv", "get", "kv/prod"}},
		{"vault", []string{"vault", "hvs.CAESIJMvqq", "x"}},
		{"login", []string{"login", "VAULT_TOKEN=x"}},
		{"python", []string{"python", "averyveryverylongwordthatmaybeapassword"}},
		{"sh", []string{"sh", ""}},
		{"", []string{""}},
		{"", nil},
		{"terraform apply in /home/a/shop", []string{"/usr/bin/terraform", "apply", "-auto-approve"}},
		{"terraform-provider-vault_v4.2.0_x5 in /home/a/shop", []string{".terraform/providers/terraform-provider-vault_v4.2.0_x5"}},
		{"tofu plan in /home/a/shop", []string{"tofu", "plan"}},
		{"python3.11 deploy.py in /home/a/shop", []string{"/usr/bin/python3.11", "-u", "-W", "ignore", "/opt/deploy.py", "--token", "hvs.secret"}},
		{"python3 -m http.server in /home/a/shop", []string{"python3", "-Im", "-m", "http.server", "8000"}},
		{"python3", []string{"python3", "-c", "token='hvs.secret'"}},
		{"python3", []string{"python3"}},
		{"python3", []string{"python3", "-m"}},
		{"python3", []string{"python3", "hvs.CAESIJMvqqXXXXXXXXXXXXXXXXXXX"}},
		{"python3", []string{"python3", "a b, approved (pid 1).py"}},
		{"python3", []string{"python3", "--", strings.Repeat("a", 60) + ".py"}},
		{"node server.mjs in /home/a/shop", []string{"node", "--require", "dotenv/config", "--inspect", "./server.mjs"}},
		{"node", []string{"node", "-e", "fetch('x')"}},
		{"java app-1.2.jar in /home/a/shop", []string{"/usr/lib/jvm/bin/java", "-Xmx1g", "-Dvault.token=hvs.secret", "-jar", "/srv/app-1.2.jar", "--password=x"}},
		{"java com.acme.Main in /home/a/shop", []string{"java", "-cp", "a.jar:b.jar", "com.acme.Main", "x"}},
		{"java -m acme.app in /home/a/shop", []string{"java", "-p", "mods", "-m", "acme.app"}},
		{"ruby rotate.rb in /home/a/shop", []string{"ruby", "-I", "lib", "rotate.rb"}},
		{"perl", []string{"perl", "-e", "print"}},
		{"ansible-playbook site.yml in /home/a/shop", []string{"ansible-playbook", "site.yml"}},
		{
			"python3 ansible-playbook site.yml db.yaml in /home/a/shop",
			[]string{"/usr/bin/python3", "/usr/bin/ansible-playbook", "-i", "inventory.yml", "-vvv", "site.yml", "-b", "plays/db.yaml", "third.yml", "-e", "secret.yml", "--limit=x.yml"},
		},
		{"python3 ansible-playbook in /home/a/shop", []string{"python3", "/usr/bin/ansible-playbook", "--vault-password-file", "pw.yml", "-e", "token=hvs.x.yml"}},
	} {
		if got := claim(tt.args, folder); got != tt.want {
			t.Errorf("claim(%q) = %q, want %q", tt.args, got, tt.want)
		}
	}
}

func TestShortFolder(t *testing.T) {
	t.Parallel()
	for folder, want := range map[string]string{
		"/home/a": "/home/a",
		"/home/alice/src/company/infrastructure/environments/prod": ".../infrastructure/environments/prod",
		"/x, approved (pid 1): go":                                 "/x??approved??pid?1???go",
		"/" + strings.Repeat("a", 60):                              "..." + strings.Repeat("a", 40),
	} {
		if got := shortFolder(folder); got != want {
			t.Errorf("shortFolder(%q) = %q, want %q", folder, got, want)
		}
	}
}

// FuzzClaim: an argument with what no name of a file has in it is never shown, whatever stands
// around it, and a claim is short.
func FuzzClaim(f *testing.F) {
	f.Add("python3", "-m", "http.server", "/home")
	f.Add("java", "-jar", "a.jar", "/")
	f.Add("ansible-playbook", "-e", "x.yml", "")
	f.Add("node", "-r", "x", "/a")
	f.Fuzz(func(t *testing.T, program, first, second, folder string) {
		const hidden = "~token="
		if strings.Contains(program+folder, hidden) {
			return
		}
		for _, args := range [][]string{{program, first + hidden, second}, {program, first, second + hidden}, {program, hidden + first, hidden + second}} {
			got := claim(args, folder)
			if strings.Contains(got, hidden) || len(got) > len(program)+3*maxFile+maxFolder {
				t.Errorf("claim(%q, %q) = %q", args, folder, got)
			}
		}
	})
}

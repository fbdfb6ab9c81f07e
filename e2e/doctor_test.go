package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDoctorMounts asks the mount table of a real Vault about the paths of rules: stores of
// KV version 1 and 2, one with two segments, another engine, and one that the token sees
// nothing of.
func TestDoctorMounts(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	n := users.Add(1)
	mount := func(name string, data map[string]any) string {
		path := fmt.Sprintf("%s-%d", name, n)
		srv.write(t, "sys/mounts/"+path, data)
		return path
	}
	kv := func(version string) map[string]any {
		return map[string]any{"type": "kv", "options": map[string]any{"version": version}}
	}
	one, two, deep, hidden := mount("kv-one", kv("1")), mount("kv-two", kv("2")), mount("team/kv", kv("2")), mount("kv-hidden", kv("2"))
	other := mount("transit-kv", map[string]any{"type": "transit"})
	var policy, rules strings.Builder
	for _, m := range []string{one, two, deep, other} {
		fmt.Fprintf(&policy, "path %q { capabilities = [\"read\"] }\n", m+"/*")
	}
	for i, path := range []string{one + "/prod/*", two + "/prod/*", deep + "/prod/+", other + "/sign/x", hidden + "/prod/*", two + "/data/ok", "team/*"} {
		fmt.Fprintf(&rules, "step_up \"r%d\" {\n  paths = [%q]\n  methods = [\"m\"]\n  grant \"header\" {}\n}\n", i, path)
	}
	u := srv.newUser(t, srv.policy(t, policy.String()))
	home := tempDir(t)
	file := filepath.Join(home, "stepup.hcl")
	check(t, os.WriteFile(file, fmt.Appendf(nil, `
vault "real" { address = %q }
listener "unix" { address = "${runtime_dir}/vault.sock" }
prompt { use = ["attached"] }
cache  { store = "memory" }
mfa_method "m" { type = "totp" }
%s`, srv.addr, rules.String()), 0o600))
	bin, err := world.stepup()
	check(t, err)
	stepup := program{path: bin, env: cleanEnv(home, "STEPUP_CONFIG="+file, addrEnv(srv.addr), "VAULT_TOKEN="+u.token(t))}
	got := stepup.run(t, "doctor").stdout
	var found []string
	for line := range strings.Lines(got) {
		if _, after, ok := strings.Cut(line, "rules: "); ok {
			found = append(found, strings.TrimSpace(after))
		}
	}
	want := []string{
		fmt.Sprintf(`rule "r1": no request has the path %[1]s/prod/*: %[1]s/ is a KV store of version 2`, two),
		fmt.Sprintf(`rule "r2": no request has the path %[1]s/prod/+: %[1]s/ is a KV store of version 2`, deep),
		fmt.Sprintf(`rule "r4": %[1]s/prod/* is right for a KV store of version 1; for one of version 2, write %[1]s/data/prod/*`, hidden),
	}
	if strings.Join(found, "\n") != strings.Join(want, "\n") {
		t.Errorf("found\n%s\nwant\n%s\nin\n%s", strings.Join(found, "\n"), strings.Join(want, "\n"), got)
	}
	for _, hint := range []string{two + "/data/prod/*", deep + "/data/prod/+"} {
		if !strings.Contains(got, "hint: write "+hint+"\n") {
			t.Errorf("no hint to write %s in\n%s", hint, got)
		}
	}
}

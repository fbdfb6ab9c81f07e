package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestSuggest reads mfa_methods out of a real Vault, and compares a configuration with it.
func TestSuggest(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	n := users.Add(1)
	name := srv.policy(t, fmt.Sprintf(`
path "secret/data/suggest%[1]d/*" {
  capabilities = ["read"]
  mfa_methods  = ["suggest_duo"]
}
path "secret/data/suggest%[1]d/{{identity.entity.name}}/*" {
  capabilities = ["update"]
  mfa_methods  = ["suggest_totp"]
}`, n))
	home := tempDir(t)
	file := filepath.Join(home, "stepup.hcl")
	head := fmt.Sprintf("vault \"real\" { address = %q }\nlistener \"tcp\" { address = \"127.0.0.1:0\" }\n", srv.addr)
	check(t, os.WriteFile(file, []byte(head), 0o600))
	reader := srv.newUser(t, srv.policy(t, `
path "sys/policies/acl" { capabilities = ["list"] }
path "sys/policies/acl/*" { capabilities = ["read"] }
`))
	bin, err := world.stepup()
	check(t, err)
	stepup := program{path: bin, env: cleanEnv(home, "STEPUP_CONFIG="+file, "VAULT_TOKEN="+reader.token(t))}
	got := stepup.ok(t, "config", "suggest")
	for _, want := range []string{
		"# policy: " + name,
		fmt.Sprintf(`paths        = ["secret/data/suggest%d/*"]`, n),
		fmt.Sprintf(`paths        = ["secret/data/suggest%d/+/*"]`, n),
		`mfa_method "suggest_duo" {`,
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("no %s in\n%s%s", want, got.stdout, got.stderr)
		}
	}
	check(t, os.WriteFile(file, []byte(head+got.stdout), 0o600))
	stepup.ok(t, "config", "check")
	// Other tests write policies meanwhile; what is written down here is not missing.
	if again := stepup.run(t, "config", "suggest", "--check"); strings.Contains(again.stdout, fmt.Sprintf("suggest%d", n)) {
		t.Errorf("%s%s", again.stdout, again.stderr)
	}
	// A name that no policy has, for the doctor.
	wrong := strings.ReplaceAll(head+got.stdout, `"suggest_duo"`, `"suggest_dou"`)
	check(t, os.WriteFile(file, []byte(wrong), 0o600))
	stepup.env = append(stepup.env, addrEnv(srv.addr))
	const unknown = `method "suggest_dou": no policy that your token may read names it`
	if doctor := stepup.run(t, "doctor").stdout; !strings.Contains(doctor, "warn  rules: "+unknown) || strings.Contains(doctor, `"suggest_totp"`) {
		t.Errorf("not of suggest_dou alone in\n%s", doctor)
	}
	stepup.env = append(stepup.env, "VAULT_TOKEN="+srv.newUser(t).token(t))
	if doctor := stepup.run(t, "doctor").stdout; strings.Contains(doctor, "suggest_dou") {
		t.Errorf("said with a token that may not know:\n%s", doctor)
	}
	stepup.run(t, "config", "suggest").wantFailure(t, 1, "permission denied")
}

// TestSuggestPriority: the first rule that matches is that of the path which Vault takes.
// Each path has a capability set of its own, so that Vault tells which one it took.
func TestSuggestPriority(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	sets := []string{"create", "read", "update", "delete", "list", "patch", "create read", "read update", "update delete", "delete list"}
	patterns := []string{"x/*", "x/+/c", "x/a/*", "x/a/+", "x/+/*", "x/a/b*", "x/a/c", "+/a/c/d", "x/+/c/*", "+/+/c/+"}
	var rules strings.Builder
	for i, pattern := range patterns {
		fmt.Fprintf(&rules, "path %q {\n  capabilities = [%s]\n  mfa_methods = [\"m%d\"]\n}\n", pattern, quoted(strings.Fields(sets[i])), i)
	}
	u := srv.newUser(t, srv.policy(t, rules.String()))
	file := filepath.Join(tempDir(t), "p.hcl")
	check(t, os.WriteFile(file, []byte(rules.String()), 0o600))
	bin, err := world.stepup()
	check(t, err)
	stepup := program{path: bin, env: cleanEnv(tempDir(t))}
	written := stepup.ok(t, "config", "suggest", file).stdout
	var order []string // of the patterns
	for _, m := range regexp.MustCompile(`paths +=\s*\["([^"]+)"\]`).FindAllStringSubmatch(written, -1) {
		order = append(order, m[1])
	}
	client, err := srv.root.CloneWithHeaders()
	check(t, err)
	client.SetToken(u.token(t))
	for _, path := range []string{"x/q", "x/a/c", "x/b/c", "x/a/b", "x/a/bb", "x/a/q", "x/a/q/r", "x/a/c/d", "x/b/c/d", "y/a/c/d", "y/b/c/d", "x/b/q"} {
		have, err := client.Sys().CapabilitiesSelfWithContext(t.Context(), path)
		check(t, err)
		first := slices.IndexFunc(order, func(p string) bool { return means(p, path) })
		if first < 0 {
			t.Fatalf("%s: no rule in\n%s", path, written)
		}
		want := strings.Fields(sets[slices.Index(patterns, order[first])])
		slices.Sort(want)
		slices.Sort(have)
		if !slices.Equal(want, have) {
			t.Errorf("%s: the first rule is for %s (%v), Vault says %v", path, order[first], want, have)
		}
	}
}

// means reports whether a path of a policy, without odd characters, is that of a request.
func means(pattern, path string) bool {
	body, glob := strings.CutSuffix(pattern, "*")
	text := "^" + strings.ReplaceAll(regexp.QuoteMeta(body), `\+`, "[^/]+")
	if !glob {
		text += "$"
	}
	return regexp.MustCompile(text).MatchString(path)
}

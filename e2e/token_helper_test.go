package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/vault-stepup/stepup/e2e/clientbin"
)

// A signedIn is the real CLI, set up by "token-helper enable" to keep its token
// in the keyring of a desktop.
func signedIn(t *testing.T, d *desktop, addr string) (vault, stepup program, home string) {
	t.Helper()
	bin, err := world.stepup()
	check(t, err)
	vault, home = cli(t, addr, d.env...)
	// The agent's folders are those of the user of the CLI.
	vault.env = append(vault.env, "XDG_CONFIG_HOME="+filepath.Join(home, "config"), "XDG_RUNTIME_DIR="+filepath.Join(home, "run"))
	stepup = program{path: bin, env: vault.env}
	stepup.ok(t, tokenHelper("enable")...)
	return vault, stepup, home
}

// tokenHelper are the arguments of stepup for a command of the helper of this CLI.
func tokenHelper(command string) []string {
	return append([]string{"token-helper", command}, byServer(nil, []string{"--bao"})...)
}

// accessor is that of the token which the CLI finds by itself.
func accessor(t *testing.T, vault program) string {
	t.Helper()
	id, _ := dig(vault.ok(t, "token", "lookup", "-format=json").fields(t), "data", "accessor").(string)
	return id
}

func child(t *testing.T, policies ...string) *api.SecretAuth {
	t.Helper()
	made, err := needVault(t).root.Auth().Token().Create(&api.TokenCreateRequest{Policies: policies, TTL: "10m"})
	check(t, err)
	return made.Auth
}

// The CLI logs in, finds its token again, replaces and forgets it, through the
// agent as well as past it; ~/.vault-token never comes to be.
func TestTokenHelperOfRealCLI(t *testing.T) {
	t.Parallel()
	d := newDesktop(t)
	srv := needVault(t)
	vault, stepup, home := signedIn(t, d, srv.addr)
	vault.run(t, "token", "lookup").wantFailure(t, 2, "Code: 403")

	first, second := child(t, "default"), child(t, "default")
	vault.stdin = first.ClientToken
	vault.ok(t, "login", "-")
	equal(t, "the token of the CLI", accessor(t, vault), first.Accessor)
	vault.stdin = second.ClientToken
	vault.ok(t, "login", "-")
	equal(t, "the token after another login", accessor(t, vault), second.Accessor)

	// The same token behind the agent, because it belongs to the server.
	a := startAgent(t, setup{hide: []string{second.ClientToken}})
	through := vault
	through.env = append(append([]string{}, vault.env...), addrEnv(a.addr), "STEPUP_RUNTIME_DIR="+filepath.Join(a.dir, "run"))
	equal(t, "the token through the agent", accessor(t, through), second.Accessor)
	// Past a server that it does not belong to, it is not there.
	elsewhere := stepup
	elsewhere.env = append(append([]string{}, stepup.env...), addrEnv("http://127.0.0.1:1"))
	equal(t, "the token for another server", elsewhere.ok(t, tokenHelper("get")...).stdout, "")

	stepup.ok(t, tokenHelper("erase")...)
	vault.run(t, "token", "lookup").wantFailure(t, 2, "Code: 403")
	if _, err := os.Stat(filepath.Join(home, ".vault-token")); err == nil {
		t.Error("there is a token in a file")
	}
	stepup.ok(t, tokenHelper("disable")...)
	vault.ok(t, "login", "-")
	if _, err := os.Stat(filepath.Join(home, ".vault-token")); err != nil {
		t.Errorf("after disable the CLI is not as it was: %v", err)
	}
}

// A program that asks no token helper gets the kept token where the user says so, and
// not otherwise.
func TestKeptTokenForOtherClients(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "token")
	a, _ := w.steppedUp(t)
	d := newDesktop(t)
	vault, stepup, _ := signedIn(t, d, a.addr)
	stepup.env = append(slices.Clone(vault.env), "STEPUP_RUNTIME_DIR="+filepath.Join(a.dir, "run"))
	vault.env, vault.stdin = stepup.env, w.token
	vault.ok(t, "login", "-")
	read := []string{needClient(t, clientbin.Vals()), "get", "ref+vault://secret/" + short(w.path) + "#/key"}
	if r := stepup.run(t, append([]string{"exec", "--"}, read...)...); r.code == 0 || strings.Contains(r.stdout+r.stderr, w.token) {
		t.Errorf("without the flag: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	equal(t, "the secret", strings.TrimSpace(stepup.ok(t, append([]string{"exec", "--token", "--"}, read...)...).stdout), "value")
}

// A keyring that is locked makes the CLI fail with words, not fall back to a file.
func TestTokenHelperOfRealCLIWithoutKeyring(t *testing.T) {
	t.Parallel()
	d := newDesktop(t)
	vault, _, home := signedIn(t, d, needVault(t).addr)
	token := child(t, "default").ClientToken
	vault.stdin = token
	vault.ok(t, "login", "-")
	d.lock(t)
	for _, args := range [][]string{{"token", "lookup"}, {"login", "-"}} {
		r := vault.run(t, args...)
		if said := r.stdout + r.stderr; r.code == 0 || !strings.Contains(said, "the default collection of the keyring is locked") {
			t.Errorf("%q: exit %d\n%s", args, r.code, said)
		}
		if strings.Contains(r.stderr, token) {
			t.Errorf("%q: the token is in the error", args)
		}
	}
	if _, err := os.Stat(filepath.Join(home, ".vault-token")); err == nil {
		t.Error("there is a token in a file")
	}
}

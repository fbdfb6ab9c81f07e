package devvault

import (
	"strings"
	"testing"
	"time"
)

// newSpaces has a secret and a reader in the root, in ns1 and in ns1/ns2.
func newSpaces(t *testing.T, flavor Flavor) (*Server, client) {
	s, root := newFixture(t, Config{Flavor: flavor})
	for _, n := range []*Namespace{s.Namespace, s.AddNamespace("ns1"), s.AddNamespace("ns1/ns2")} {
		n.AddPolicy("reader", PathRule{Path: "secret/data/n", Capabilities: []string{"read"}}, PathRule{Path: "secret/metadata/n", Capabilities: []string{"list"}})
		check(t, n.PutSecret("secret/n", map[string]any{"v": "/" + n.path}))
	}
	return s, root
}

func TestFlavorsOfNamespaces(t *testing.T) {
	t.Parallel()
	const missing = `no handler for route "`
	tests := []struct {
		header, path string
		want         map[Flavor]string // the secret's namespace, or the error
	}{
		{"", "secret/data/n", map[Flavor]string{Enterprise: "/", Community: "/", OpenBao: "/"}},
		{"ns1", "secret/data/n", map[Flavor]string{Enterprise: "/ns1/", Community: "/", OpenBao: "/ns1/"}},
		{"/ns1/ns2/", "secret/data/n", map[Flavor]string{Enterprise: "/ns1/ns2/", Community: "/", OpenBao: "/ns1/ns2/"}},
		{"ns1", "ns2/secret/data/n", map[Flavor]string{
			Enterprise: "/ns1/ns2/", Community: missing + `ns2/secret/data/n". route entry not found.`, OpenBao: "/ns1/ns2/",
		}},
		{"ns1//ns2/../ns2", "secret/data/n", map[Flavor]string{Enterprise: "/ns1/ns2/", Community: "/", OpenBao: "/ns1/ns2/"}},
		{"", "ns1/ns2/secret/data/n", map[Flavor]string{
			Enterprise: "/ns1/ns2/", Community: missing + `ns1/ns2/secret/data/n". route entry not found.`, OpenBao: "/ns1/ns2/",
		}},
		{"", "ns1%2fsecret%2fdata/n", map[Flavor]string{
			Enterprise: "/ns1/", Community: missing + `ns1/secret/data/n". route entry not found.`, OpenBao: "/ns1/",
		}},
		{"root", "secret/data/n", map[Flavor]string{Enterprise: "/", Community: "/", OpenBao: "/"}},
		{"ns9", "secret/data/n", map[Flavor]string{
			Enterprise: missing + `ns9/secret/data/n". route entry not found.`, Community: "/", OpenBao: textNoNamespace,
		}},
		{"ns1/ns9", "secret/data/n", map[Flavor]string{
			Enterprise: missing + `ns9/secret/data/n". route entry not found.`, Community: "/", OpenBao: textNoNamespace,
		}},
	}
	for _, flavor := range []Flavor{Enterprise, Community, OpenBao} {
		_, root := newSpaces(t, flavor)
		for _, tt := range tests {
			got := root.do("GET", "/v1/"+tt.path, nil, "X-Vault-Namespace", tt.header)
			want := tt.want[flavor]
			if want[0] != '/' {
				got.refused(t, 404, want)
			} else if got.text(t, "data", "data", "v") != want {
				t.Errorf("%q: header %q, path %q: %d %s, want the secret of %q", flavor, tt.header, tt.path, got.status, got.body, want)
			}
		}
	}
}

// What each flavor says of a token that is not there any more, and of one that may not.
func TestFlavorsOfDeadTokens(t *testing.T) {
	t.Parallel()
	for flavor, dead := range map[Flavor]string{Enterprise: textInvalidToken, Community: textInvalidToken, OpenBao: textBareDenied} {
		s, root := newFixture(t, Config{Flavor: flavor})
		revoked, expired := s.CreateToken([]string{"dev"}, ""), s.NewToken(TokenSpec{Policies: []string{"dev"}, TTL: time.Minute})
		used := s.NewToken(TokenSpec{Policies: []string{"dev"}, NumUses: 1})
		root.do("POST", "/v1/auth/token/revoke", map[string]any{"token": revoked}).want(t, 204, "")
		root.clock.Add(time.Hour)
		root.as(used).do("GET", "/v1/secret/data/x", nil).wantStatus(t, 200)
		for _, token := range []string{"s.junk", revoked, expired, used} {
			for _, path := range []string{"secret/data/x", "secret/data/deny", "nowhere", "sys/internal/ui/mounts/secret", "auth/token/lookup-self"} {
				root.as(token).do("GET", "/v1/"+path, nil).refused(t, 403, dead)
			}
		}
		root.as("").do("GET", "/v1/secret/data/x", nil).refused(t, 403, textBareDenied)
		live := root.as(s.CreateToken([]string{"dev"}, ""))
		live.do("GET", "/v1/secret/data/deny", nil).refused(t, 403, textDenied)
		live.do("GET", "/v1/sys/internal/ui/mounts/kv/x", nil).refused(t, 403, "preflight capability check returned 403, please ensure client's policies grant access to path \"kv/x/\"")
	}
}

// As seen of OpenBao 2.6.2, without a token and in namespaces that are not there, too. Vault routes these
// as they are (TestSpellings).
func TestOpenBaoRefusesRelativePaths(t *testing.T) {
	t.Parallel()
	_, root := newSpaces(t, OpenBao)
	for path, relative := range map[string]bool{
		"nowhere/..%2fx": true, "nowhere/%2e%2e/x": true, "nowhere/%2e/x": true, "%2e%2e/x": true, "nowhere/x/%2e%2e": true, "nowhere/x/%2e": true,
		"nowhere/a..b": false, "nowhere/...%2fx": false, "nowhere/%2fx": false, "nowhere/x%2f": false,
	} {
		for _, c := range []client{root, root.as("")} {
			got := c.do("GET", "/v1/"+path, nil, "X-Vault-Namespace", "ns1")
			if relative != strings.Contains(got.body, textRelative) || relative && got.status != 400 {
				t.Errorf("%s: %d %s", path, got.status, got.body)
			}
		}
		if relative {
			root.do("GET", "/v1/"+path, nil, "X-Vault-Namespace", "ns9").refused(t, 400, textRelative)
		}
	}
}

func TestScanIsOpenBaos(t *testing.T) {
	t.Parallel()
	s, root := newFixture(t, Config{Flavor: OpenBao})
	for _, path := range []string{"secret/a/b", "secret/a/c/d"} {
		check(t, s.PutSecret(path, nil))
	}
	s.AddPolicy("lister", PathRule{Path: "secret/metadata/*", Capabilities: []string{"read", "list"}})
	s.AddPolicy("scanner", PathRule{Path: "secret/metadata/*", Capabilities: []string{"scan"}})
	lister, scanner := root.as(s.CreateToken([]string{"lister"}, "")), root.as(s.CreateToken([]string{"scanner"}, ""))
	for _, c := range [][2]string{{"SCAN", "/v1/secret/metadata/a"}, {"GET", "/v1/secret/metadata/a?scan=true"}} {
		if got := scanner.do(c[0], c[1], nil); got.status != 200 || len(got.at(t, "data", "keys").([]any)) != 2 {
			t.Errorf("%s %s: %d %s", c[0], c[1], got.status, got.body)
		}
		lister.do(c[0], c[1], nil).refused(t, 403, textDenied)
	}
	scanner.do("LIST", "/v1/secret/metadata/a", nil).refused(t, 403, textDenied)
	root.do("GET", "/v1/secret/metadata/a?scan=true&list=true", nil).want(t, 400, "{\"errors\":[]}\n")
}

// OpenBao finds a token's own mount of auth/token from every namespace; capabilities it does not.
func TestFlavorsOfATokenOfAnotherNamespace(t *testing.T) {
	t.Parallel()
	for flavor, status := range map[Flavor]int{Enterprise: 403, OpenBao: 200} {
		s, root := newSpaces(t, flavor)
		c := root.as(s.AddNamespace("ns1").CreateToken([]string{"default", "reader"}, ""))
		t.Logf("%q", flavor)
		c.do("GET", "/v1/auth/token/lookup-self", nil).wantStatus(t, status)
		c.do("POST", "/v1/sys/capabilities-self", `{"paths":["secret/data/n"]}`).refused(t, 403, textDenied)
		c.do("POST", "/v1/ns1/sys/capabilities-self", `{"paths":["secret/data/n"]}`).wantStatus(t, 200)
		c.do("GET", "/v1/ns1/sys/internal/ui/mounts/secret/n", nil).wantStatus(t, 200)
		if got := c.do("GET", "/v1/sys/internal/ui/mounts/ns1/secret/n", nil); got.status != 200 || got.text(t, "data", "path") != "ns1/secret/" {
			t.Errorf("%q: mounts of a child: %d %s", flavor, got.status, got.body)
		}
		c.do("GET", "/v1/sys/internal/ui/mounts/secret/n", nil).refused(t, 403, "preflight capability check returned 403, please ensure client's policies grant access to path \"secret/n/\"")
	}
}

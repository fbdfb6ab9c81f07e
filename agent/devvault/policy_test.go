package devvault

import (
	"strings"
	"testing"
)

func TestMatchPath(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern, path string
		want          bool
	}{
		{"secret/foo", "secret/foo", true},
		{"secret/foo", "secret/foo/", false},
		{"secret/*", "secret/", true},
		{"secret/*", "secret", false},
		{"secret/*", "secret/a/b", true},
		{"secret/zip-*", "secret/zip-a/b", true},
		{"secret/zip-*", "secret/zip", false},
		{"*", "anything", true},
		{"secret/+/team", "secret/a/team", true},
		{"secret/+/team", "secret/a/b/team", false},
		{"secret/+/team", "secret//team", true}, // tried with a real Vault
		{"secret/+/team*", "secret/a/teams/x", true},
		{"+/+", "b/", true},
		{"a/+/*", "a/b", false},
		{"a/+/*", "a/b/c/d", true},
	}
	for _, tt := range tests {
		if got := matchPath(tt.pattern, tt.path); got != tt.want {
			t.Errorf("matchPath(%q, %q) = %v", tt.pattern, tt.path, got)
		}
	}
}

// The winner is always the last: each rule of Vault's documentation once.
func TestMostSpecificPatternWins(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, path string
		patterns   []string
	}{
		{"exact", "secret/a/b", []string{"*", "secret/*", "secret/+/b", "secret/a/*", "secret/a/b"}},
		{"later wildcard", "secret/a/b", []string{"+/a/b", "secret/+/b", "secret/a/+"}},
		{"no glob at the end", "secret/a/b", []string{"secret/+/*", "secret/+/b"}},
		{"fewer segments of any kind", "secret/a/b/c", []string{"secret/+/+/c", "secret/+/b/c"}},
		{"longer", "secret/a/bcd", []string{"secret/+/b*", "secret/+/bc*"}},
		{"deny counts like any other", "secret/a", []string{"secret/*", "secret/a*"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := &acl{rules: make(map[string]*grant)}
			for _, p := range tt.patterns {
				a.add("", PathRule{Path: p, Capabilities: []string{p}})
			}
			want := tt.patterns[len(tt.patterns)-1]
			if g := a.lookup(tt.path, false); g == nil || !g.capabilities[want] {
				t.Errorf("got %v, want %s", g, want)
			}
		})
	}
}

func TestCapabilitiesSelf(t *testing.T) {
	t.Parallel()
	s, c := newFixture(t, Config{})
	s.AddTOTPMethod("corp")
	s.AddPolicy("guarded", PathRule{Path: "secret/data/g", Capabilities: []string{"update", "read"}, MFAMethods: []string{"corp"}})
	token := s.CreateToken([]string{"default", "dev", "guarded"}, "alice")
	tests := []struct {
		name, token, body, want string // what follows request_id is checked once, below
	}{
		{"one", token, `{"paths":["secret/data/x"]}`, `{"secret/data/x":["create","read"],"capabilities":["create","read"],`},
		{"as path", token, `{"path":"secret/data/x"}`, `{"secret/data/x":["create","read"],"capabilities":["create","read"],`},
		{"several", token, `{"paths":["secret/data/deny","secret/metadata/","nope"]}`, `{"secret/data/deny":["deny"],"secret/metadata/":["list"],"nope":["deny"],`},
		{"says nothing of MFA", token, `{"paths":["secret/data/g"]}`, `{"secret/data/g":["read","update"],"capabilities":["read","update"],`},
		{"root", "root", `{"paths":["secret/data/g"]}`, `{"secret/data/g":["root"],"capabilities":["root"],`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := c.as(tt.token).in(t)
			got := c.do("POST", "/v1/sys/capabilities-self", tt.body)
			if got.status != 200 || !strings.HasPrefix(got.body, tt.want+`"request_id":"`) {
				t.Errorf("got %d %s", got.status, got.body)
			}
		})
	}
	c.as(token).do("POST", "/v1/sys/capabilities-self", `{"paths":["nope"]}`).want(t, 200, `{"nope":["deny"],"capabilities":["deny"],`+envelopeHead[1:]+`"data":{"capabilities":["deny"],"nope":["deny"]},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"system"}`+"\n")
}

func TestPoliciesJoin(t *testing.T) {
	t.Parallel()
	s, _ := newFixture(t, Config{})
	s.AddPolicy("a", PathRule{Path: "p", Capabilities: []string{"read"}, MFAMethods: []string{"x", "y"}})
	s.AddPolicy("b", PathRule{Path: "p", Capabilities: []string{"list"}, MFAMethods: []string{"y", "z"}})
	s.AddPolicy("c", PathRule{Path: "p", Capabilities: []string{"deny"}})
	g := s.aclLocked(&token{ns: s.Namespace, policies: []string{"a", "b"}}).lookup("p", false)
	if got := strings.Join(g.methods, " "); got != "x y z" || !g.allows(opRead) || !g.allows(opList) || g.allows(opDelete) {
		t.Errorf("methods %q, capabilities %v", got, g.capabilities)
	}
	if g := s.aclLocked(&token{ns: s.Namespace, policies: []string{"a", "c"}}).lookup("p", false); g.allows(opRead) {
		t.Error("deny did not win")
	}
}

func TestUIMounts(t *testing.T) {
	t.Parallel()
	s, c := newFixture(t, Config{})
	s.AddPolicy("plus", PathRule{Path: "+/data/x", Capabilities: []string{"read"}})
	s.AddPolicy("glob", PathRule{Path: "k*", Capabilities: []string{"read"}})
	tests := []struct {
		name, policy, path string
		status             int
	}{
		{"below the mount", "dev", "secret/data/x", 200},
		{"the mount", "dev", "secret", 200},
		{"other mount", "dev", "kv/data/x", 403},
		{"by segment", "plus", "kv/data/x", 200},
		{"by prefix", "glob", "kv/data/x", 200},
		{"by prefix, other mount", "glob", "secret/data/x", 403},
		{"default sees sys", "default", "sys/health", 200},
		{"root", "root", "auth/userpass/login/alice", 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := c.as(s.CreateToken([]string{tt.policy}, "")).in(t)
			c.do("GET", "/v1/sys/internal/ui/mounts/"+tt.path, nil).wantStatus(t, tt.status)
		})
	}
	got := c.as(s.CreateToken([]string{"dev"}, "")).do("GET", "/v1/sys/internal/ui/mounts/secret/data/x", nil)
	if got.text(t, "data", "path") != "secret/" || got.text(t, "data", "options", "version") != "2" || got.text(t, "data", "type") != "kv" {
		t.Errorf("mount: %s", got.body)
	}
	got = c.as(s.CreateToken([]string{"dev"}, "")).do("GET", "/v1/sys/internal/ui/mounts", nil)
	if got.at(t, "data", "secret", "secret/") == nil || got.at(t, "data", "secret", "kv/") != nil {
		t.Errorf("mounts: %s", got.body)
	}
	c.as("").do("GET", "/v1/sys/internal/ui/mounts", nil).want(t, 200, envelopeHead+`"data":{"auth":{},"secret":{}},"wrap_info":null,"warnings":null,"auth":null,"mount_type":""}`+"\n")
}

// Laws: a path without wildcards matches itself and nothing else; a prefix matches all that it
// starts; replacing a segment by "+" still matches; of two patterns exactly one is less specific.
func FuzzMatchPath(f *testing.F) {
	for _, s := range []string{"secret/data/x", "a//b/", "", "/", "+/*", "a+*", "ns1/kv/data/é"} {
		f.Add(s, "secret/*")
	}
	f.Fuzz(func(t *testing.T, path, other string) {
		plain := strings.NewReplacer("*", "", "+", "").Replace(path)
		if !matchPath(plain, plain) || isPattern(plain) {
			t.Errorf("%q does not match itself", plain)
		}
		if plain != path && matchPath(plain, path) {
			t.Errorf("%q matches %q", plain, path)
		}
		for i := range plain {
			if !matchPath(plain[:i]+"*", plain) {
				t.Errorf("prefix %q does not match %q", plain[:i]+"*", plain)
			}
		}
		segments := strings.Split(plain, "/")
		for i := range segments {
			changed := append([]string(nil), segments...)
			changed[i] = "+"
			if p := strings.Join(changed, "/"); !matchPath(p, plain) {
				t.Errorf("%q does not match %q", p, plain)
			}
		}
		if path == other && lessSpecific(path, other) || path != other && lessSpecific(path, other) == lessSpecific(other, path) {
			t.Errorf("%q and %q are not in order", path, other)
		}
	})
}

package devvault

import (
	"testing"
)

func TestNamespaces(t *testing.T) {
	t.Parallel()
	s, root := newFixture(t, Config{})
	ns := s.AddNamespace("/ns1/")
	deep := s.AddNamespace("ns1/deep")
	if s.AddNamespace("ns1") != ns || s.AddNamespace("") != s.Namespace {
		t.Error("a declared namespace was made again")
	}
	for n, value := range map[*Namespace]string{s.Namespace: "root", ns: "one", deep: "deep"} {
		check(t, n.PutSecret("secret/n", map[string]any{"v": value}))
		n.AddPolicy("reader", PathRule{Path: "secret/data/n", Capabilities: []string{"read"}})
	}
	s.AddPolicy("into", PathRule{Path: "ns1/secret/data/n", Capabilities: []string{"read"}})
	inRoot, inOne, into := s.CreateToken([]string{"default", "reader"}, ""), ns.CreateToken([]string{"default", "reader"}, ""), s.CreateToken([]string{"into"}, "")
	tests := []struct {
		name, token, header, path string
		want                      string // of the secret; "" means refused
	}{
		{"root", inRoot, "", "secret/data/n", "root"},
		{"root by name", inRoot, "root", "secret/data/n", "root"},
		{"header", "root", "ns1", "secret/data/n", "one"},
		{"header with slashes", "root", "/ns1/", "secret/data/n", "one"},
		{"path", "root", "", "ns1/secret/data/n", "one"},
		{"header and path", "root", "ns1", "deep/secret/data/n", "deep"},
		{"all in the header", "root", "ns1/deep", "secret/data/n", "deep"},
		{"policy of the namespace", inOne, "ns1", "secret/data/n", "one"},
		{"policy of the namespace, below", inOne, "ns1/deep", "secret/data/n", ""},
		{"policy of the namespace, above", inOne, "", "secret/data/n", ""},
		{"policy of the parent", inRoot, "ns1", "secret/data/n", ""},
		{"policy of the parent with the path", into, "ns1", "secret/data/n", "one"},
		{"undeclared", inRoot, "ns9", "secret/data/n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := root.as(tt.token).in(t)
			got := c.do("GET", "/v1/"+tt.path, nil, "X-Vault-Namespace", tt.header)
			if tt.want == "" {
				got.refused(t, 403, textDenied)
			} else if got.text(t, "data", "data", "v") != tt.want {
				t.Errorf("got %d %s", got.status, got.body)
			}
			if got.header.Get("X-Vault-Namespace") != tt.header {
				t.Errorf("namespace header %q", got.header.Get("X-Vault-Namespace"))
			}
		})
	}
	root.do("GET", "/v1/secret/data/n", nil, "X-Vault-Namespace", "ns9").refused(t, 404, `no handler for route "ns9/secret/data/n". route entry not found.`)
	root.as(inOne).do("GET", "/v1/auth/token/lookup-self", nil, "X-Vault-Namespace", "ns1").wantAt(t, "ns1/", "data", "namespace_path")
}

func TestMFAInNamespaces(t *testing.T) {
	t.Parallel()
	s, c := newFixture(t, Config{})
	ns := s.AddNamespace("ns1")
	c = c.as("")
	entity := ns.AddUser("userpass", "nina", "pw", "guarded")
	ns.AddTOTPMethod("corp")
	s.AddTOTPMethod("root_corp")
	for _, name := range []string{"corp", "root_corp"} {
		enrol(t, ns, name, entity)
	}
	enforce(t, ns, "ups", "corp")
	// Step-up knows methods of the root namespace only, from everywhere.
	ns.AddPolicy("guarded", PathRule{Path: "secret/data/n", Capabilities: []string{"read"}, MFAMethods: []string{"root_corp"}},
		PathRule{Path: "secret/data/own", Capabilities: []string{"read"}, MFAMethods: []string{"corp"}})
	check(t, ns.PutSecret("secret/n", nil))
	in := []string{"X-Vault-Namespace", "ns1"}

	id := c.hold("nina", in...)
	payload := map[string]any{"ns1/corp": []string{ns.Code("corp", "nina")}}
	c.validate(id, payload).refused(t, 500, "1 error occurred:\n\t* original request was issued in a different namesapce ns1/, current namespace is \n\n")
	c.validate(id, given("corp", "1"), in...).wantStatus(t, 403)
	got := c.validate(id, payload, in...)
	if got.status != 200 {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	c = c.as(got.text(t, "auth", "client_token"))
	c.do("GET", "/v1/ns1/secret/data/n", nil, "X-Vault-MFA", "root_corp:"+ns.Code("root_corp", entity)).wantStatus(t, 200)
	c.do("GET", "/v1/ns1/secret/data/own", nil, "X-Vault-MFA", "corp:"+ns.UnusedCode("corp", entity)).refused(t, 403, textDenied)
}

package gate

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

func TestPolicyPaths(t *testing.T) {
	t.Parallel()
	const policy = `
path "kv/data/exact" { capabilities = ["read"]  mfa_methods = ["exact"] }
path "kv/data/*" { capabilities = ["read"]  mfa_methods = ["prefix"] }
path "kv/data/free/*" { capabilities = ["read"] }
path "kv/+/a" { capabilities = ["read"]  mfa_methods = ["plus"] }
path "sign/+/x" { mfa_methods = ["one", "two"] }
path "sign/+/*" { mfa_methods = ["glob"] }
path "sign/+/+" { mfa_methods = ["deep"] }
path "/lead" { mfa_methods = ["lead"] }
path "box/list" { mfa_methods = ["list"] }
`
	const second = `path "sign/+/x" { mfa_methods = ["three", "one"] }`
	a := acl{}
	for _, text := range []string{policy, second} {
		if err := a.add(text); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		path string
		list bool
		want []string
	}{
		{"kv/data/exact", false, []string{"exact"}},
		{"kv/data/other", false, []string{"prefix"}},
		{"kv/data/free/x", false, nil},
		{"kv/data/a", false, []string{"prefix"}}, // the glob comes later than the "+"
		{"kv/metadata/a", false, []string{"plus"}},
		{"kv/metadata/a/b", false, nil},
		{"sign/k/x", false, []string{"one", "three", "two"}},
		{"sign/k/y", false, []string{"deep"}},
		{"sign/k/y/z", false, []string{"glob"}},
		{"lead", false, []string{"lead"}},
		{"box/list/", true, []string{"list"}},
		{"box/list/", false, nil},
		{"elsewhere", false, nil},
	}
	for _, test := range tests {
		if got := a.methods(test.path, test.list); !slices.Equal(got, test.want) {
			t.Errorf("methods(%q, list %v) = %q, want %q", test.path, test.list, got, test.want)
		}
	}
	if err := a.add(`path "x" {`); err == nil {
		t.Error("a broken policy was read without an error")
	}
}

func TestOperation(t *testing.T) {
	t.Parallel()
	tests := []struct {
		method, target string
		op, path       string
		ok             bool
	}{
		{"GET", "/v1/kv/data/x", "read", "kv/data/x", true},
		{"GET", "/v1/kv/data/a%2Fb", "read", "kv/data/a/b", true},
		{"GET", "/v1/kv/metadata?list=true", "list", "kv/metadata/", true},
		{"LIST", "/v1/kv/metadata/", "list", "kv/metadata/", true},
		{"POST", "/v1/kv/data/x", "update", "kv/data/x", true},
		{"PUT", "/v1/kv/data/x", "update", "kv/data/x", true},
		{"PATCH", "/v1/kv/data/x", "patch", "kv/data/x", true},
		{"DELETE", "/v1/kv/data/x", "delete", "kv/data/x", true},
		{"HEAD", "/v1/kv/data/x", "", "", false},
		{"GET", "/v1/kv//data/x", "", "", false},
		{"GET", "/v1/kv/data/../x", "", "", false},
		{"GET", "/v1/kv/..%2fdata/x", "read", "kv/../data/x", true},
		{"GET", "/v1/kv/%2e%2e/data/x", "read", "kv/../data/x", true},
		{"GET", "/v1/kv/%2e/data/x", "read", "kv/./data/x", true},
		{"GET", "/v1/kv/%2fdata/x", "read", "kv//data/x", true},
		{"GET", "/v1/kv/data/%78", "read", "kv/data/x", true},
		{"GET", "/v1/kv/data/x%2f", "read", "kv/data/x/", true},
		{"LIST", "/v1/kv/data/x%2f", "list", "kv/data/x/", true},
		{"GET", "/v1/%2e%2e/../kv", "", "", false},
		{"GET", "/ui/", "", "", false},
	}
	for _, test := range tests {
		op, p, ok := operation(httptest.NewRequest(test.method, test.target, nil))
		if op != test.op || p != test.path || ok != test.ok {
			t.Errorf("operation(%s %s) = %q, %q, %v; want %q, %q, %v",
				test.method, test.target, op, p, ok, test.op, test.path, test.ok)
		}
	}
}

func TestCallerToken(t *testing.T) {
	t.Parallel()
	tests := []struct {
		header http.Header
		want   string
	}{
		{http.Header{"X-Vault-Token": {"a"}, "Authorization": {"Bearer b"}}, "a"},
		{http.Header{"X-Vault-Token": {"a", "b"}}, "a"},
		{http.Header{"X-Vault-Token": {""}, "Authorization": {"Bearer b"}}, "b"},
		{http.Header{"Authorization": {"Basic x", "Bearer  b "}}, "b"},
		{http.Header{"Authorization": {"bearer b"}}, ""},
		{http.Header{}, ""},
	}
	for _, test := range tests {
		if got := callerToken(&http.Request{Header: test.header}); got != test.want {
			t.Errorf("%v: %q, want %q", test.header, got, test.want)
		}
	}
}

func TestParseCreds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		lines []string
		want  map[string][]string
		fails bool
	}{
		{"one line a method", []string{"a:1", "b:2"}, map[string][]string{"a": {"1"}, "b": {"2"}}, false},
		{"a comma is part of the passcode", []string{"a:1, b:2"}, map[string][]string{"a": {"1, b:2"}}, false},
		{"a name alone is a push", []string{"a", ""}, map[string][]string{"a": {}}, false},
		{"only the first colon splits", []string{"a:b:c"}, map[string][]string{"a": {"b:c"}}, false},
		{"no name", []string{":1"}, nil, true},
		{"no value", []string{"a:"}, nil, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseCreds(http.Header{"X-Vault-Mfa": test.lines})
			if (err != nil) != test.fails {
				t.Fatalf("error %v, want one: %v", err, test.fails)
			}
			if len(got) != len(test.want) {
				t.Fatalf("got %v, want %v", got, test.want)
			}
			for name, values := range test.want {
				if !slices.Equal(got[name], values) {
					t.Errorf("%s: got %q, want %q", name, got[name], values)
				}
			}
		})
	}
}

func TestTOTP(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	g := &Gate{now: func() time.Time { return now }, methods: map[string]method{}}
	m := g.AddTOTP("corp")
	secret, err := m.Enroll("alice")
	if err != nil {
		t.Fatal(err)
	}
	code := func(at time.Time) string {
		c, err := totp.GenerateCode(secret, at)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	steps := []struct {
		name   string
		entity string
		values []string
		want   bool
	}{
		{"nobody enrolled", "bob", []string{code(now)}, false},
		{"no passcode", "alice", nil, false},
		{"presence only", "alice", []string{}, false},
		{"two passcodes", "alice", []string{code(now), code(now)}, false},
		{"a blank before it", "alice", []string{" " + code(now)}, false},
		{"the passcode= form of Duo", "alice", []string{"passcode=" + code(now)}, false},
		{"two steps ahead", "alice", []string{code(now.Add(60 * time.Second))}, false},
		{"the right code", "alice", []string{code(now)}, true},
		{"the same code again", "alice", []string{code(now)}, false},
		{"the next code, within the skew", "alice", []string{code(now.Add(30 * time.Second))}, true},
	}
	for _, step := range steps {
		if got := m.validate(t.Context(), step.entity, step.values) == nil; got != step.want {
			t.Errorf("%s: valid %v, want %v", step.name, got, step.want)
		}
	}
	if g.satisfied(t.Context(), "", []string{"corp"}, nil) {
		t.Error("a token without an entity was satisfied")
	}
	if g.satisfied(t.Context(), "alice", []string{"unknown"}, nil) {
		t.Error("an unknown method was satisfied")
	}
}

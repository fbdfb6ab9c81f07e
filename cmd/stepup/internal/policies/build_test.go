package policies

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/config"
)

// rules are the blocks of policies (p0, p1, …) in root, one line each.
func rules(s source) (lines []string) {
	if s.namespaces == nil {
		s.namespaces = []string{""}
	}
	entries, _ := build(s)
	for _, b := range blocks(entries) {
		line := strings.TrimSpace(b.namespace + " " + strings.Join(b.paths, " ") + ": " + strings.Join(b.methods, "+"))
		for _, p := range b.sentinel {
			line += " " + p.Name + "=" + strings.Join(p.Methods, "+")
		}
		if b.grouped {
			line += " waits"
		}
		if b.free {
			line += " free"
		}
		for _, note := range b.notes {
			if methods, ok := strings.CutPrefix(note, "a token without this policy needs "); ok {
				line += " else " + strings.Fields(methods)[0]
			}
		}
		lines = append(lines, line)
	}
	return lines
}

func policy(name, text string) policyText { return policyText{name: name, text: text} }

func TestRules(t *testing.T) {
	t.Parallel()
	const asks = `{ capabilities = ["read"] mfa_methods = ["m"] }`
	for name, tt := range map[string]struct {
		in   source
		want []string
	}{
		"most specific first": {
			source{acl: []policyText{policy("p", `path "a/*" `+asks+` path "a/+/c" { capabilities = ["read"] mfa_methods = ["plus"] } path "a/b/*" { capabilities = ["read"] mfa_methods = ["deep"] } path "a/b/c" { capabilities = ["read"] mfa_methods = ["exact"] }`)}},
			[]string{"a/b/c: exact", "a/b/*: deep", "a/+/c: plus", "a/*: m"},
		},
		"an exception that each policy has": {
			source{acl: []policyText{policy("p", `path "a/*" `+asks+` path "a/free/*" { capabilities = ["read"] }`)}},
			[]string{"a/free/*: m free", "a/*: m"},
		},
		"a denial is one": {
			source{acl: []policyText{policy("p", `path "a/*" `+asks+` path "a/closed" { capabilities = ["deny"] }`)}},
			[]string{"a/closed: m free", "a/*: m"},
		},
		"an exception of another policy": { // who has p alone has to be asked
			source{acl: []policyText{policy("p", `path "a/*" `+asks), policy("q", `path "a/free/*" { capabilities = ["read"] }`)}},
			[]string{"a/*: m"},
		},
		"a narrower path of another policy": { // who has q alone needs m for a/b, too
			source{acl: []policyText{policy("p", `path "a/b" { capabilities = ["read"] mfa_methods = ["n"] } path "a/c/*" { capabilities = ["read"] mfa_methods = ["n"] }`), policy("q", `path "a/*" `+asks+` path "a/c/*" `+asks)}},
			[]string{"a/b: n else m", "a/c/*: n+m", "a/*: m"},
		},
		"an exception for one user": { // not for the others
			source{acl: []policyText{policy("p", `path "a/*" `+asks+` path "a/{{identity.entity.id}}/*" { capabilities = ["read"] }`)}},
			[]string{"a/*: m"},
		},
		"a denied path asks for nothing": {
			source{acl: []policyText{policy("p", `path "a" { capabilities = ["read", "deny"] mfa_methods = ["m"] } path "b" `+asks+` path "b" { capabilities = ["deny"] }`)}},
			nil,
		},
		"denied by one, asked for by another": {
			source{acl: []policyText{policy("p", `path "a" { capabilities = ["deny"] }`), policy("q", `path "a" `+asks)}},
			[]string{"a: m"},
		},
		"sudo alone": {source{acl: []policyText{policy("p", `path "a" { capabilities = ["sudo"] mfa_methods = ["m"] }`)}}, nil},
		"methods of several policies": {
			source{acl: []policyText{policy("p", `path "a" `+asks), policy("q", `path "a" { capabilities = ["update"] mfa_methods = ["n", "m"] }`)}},
			[]string{"a: m+n"},
		},
		"templates": {
			source{acl: []policyText{policy("p", `path "kv/{{identity.entity.name}}/x" `+asks+` path "kv/u-{{identity.entity.id}}*" `+asks)}},
			[]string{"kv/+/x kv/u-*: m"},
		},
		"a control group for some": {
			source{acl: []policyText{policy("p", `path "a" { capabilities = ["read", "update"] mfa_methods = ["m"] control_group = { factor "f" { identity { group_names = ["g"] approvals = 1 } controlled_capabilities = ["update"] } } }`)}},
			[]string{"a: m waits", "a: m"},
		},
		"a template, wider than in Vault": { // a/+/config would never be used behind it
			source{acl: []policyText{policy("p", `path "a/{{identity.entity.name}}/*" `+asks+` path "a/*" { capabilities = ["read"] mfa_methods = ["all"] } path "a/+/config" { capabilities = ["read"] mfa_methods = ["n"] }`)}},
			[]string{"a/+/config: n", "a/+/*: m", "a/*: all"},
		},
		"one that is never used": { // Vault prefers a/*; who has q alone is told of
			source{acl: []policyText{policy("p", `path "a/*" `+asks), policy("q", `path "a/+/*" { capabilities = ["read"] mfa_methods = ["n"] }`)}},
			[]string{"a/*: m else n"},
		},
		"a control group for some, and no factor": { // nothing is wanted for the others
			source{acl: []policyText{policy("p", `path "a" { capabilities = ["read", "update"] control_group = { factor "f" { controlled_capabilities = ["update"] } } }`)}},
			[]string{"a: waits"},
		},
		"a control group for what is not granted": {
			source{acl: []policyText{policy("p", `path "a" { capabilities = ["read"] control_group = { factor "f" { controlled_capabilities = ["update"] } } }`)}},
			nil,
		},
		"namespaces": {
			source{namespaces: []string{"", "ns1", "ns1/x"}, named: true, acl: []policyText{
				policy("p", `path "ns1/kv/*" `+asks+` path "+/sys/*" `+asks+` path "ns1/x*" `+asks), {namespace: "ns1", name: "q", text: `path "kv/a" ` + asks},
			}},
			[]string{"+/sys/*: m", "ns1 kv/a kv/* x* sys/*: m", "ns1/x *: m"},
		},
		"Sentinel": {
			source{acl: []policyText{policy("p", `path "a/*" `+asks)}, sentinel: []sentinelPolicy{{name: "e", paths: []string{"a/b/*"}, methods: []string{"s"}}, {name: "r", methods: []string{"x"}}}},
			[]string{"a/b/*: m root/e=s", "a/*: m root/e=s"},
		},
		"JSON": {source{acl: []policyText{policy("p", `{"path":{"a":{"capabilities":["read"],"mfa_methods":["m"]}}}`)}}, []string{"a: m"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, rules(tt.in)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Examples of HashiCorp have "write" beside the capabilities of a path.
func TestControlledCapabilities(t *testing.T) {
	t.Parallel()
	for words, want := range map[string][]rule.Operation{
		`["write"]`:          {rule.Create, rule.Update},
		`["write", "read"]`:  {rule.Create, rule.Read, rule.Update},
		`["delete", "scan"]`: {rule.Delete},
		`["later"]`:          {rule.Create, rule.Read, rule.Update, rule.Delete}, // a word of a newer server: rather too many
	} {
		text := `path "a" { capabilities = ["create", "read", "update", "delete"] control_group = { factor "f" { controlled_capabilities = ` + words + ` } } }`
		entries, _ := build(source{namespaces: []string{""}, acl: []policyText{policy("p", text)}})
		all := blocks(entries)
		if len(all) != 1 {
			t.Fatalf("%s: %d blocks", words, len(all))
		}
		if diff := cmp.Diff(want, all[0].operations); diff != "" {
			t.Errorf("%s: %s", words, diff)
		}
		if lines := missing(nil, entries); len(lines) != 1 || !strings.Contains(lines[0], "("+join(want)+")") {
			t.Errorf("%s: %q", words, lines)
		}
	}
}

func join(operations []rule.Operation) string {
	var words []string
	for _, op := range operations {
		words = append(words, string(op))
	}
	return strings.Join(words, ", ")
}

// What cannot be read, or not whole, says why, and where.
func TestNotes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ text, want string }{
		"Terraform":  {"resource \"vault_policy\" \"x\" {}", `policy p cannot be read: d/p.hcl:1:1: a policy has path blocks, and no "resource"`},
		"no list":    {"path \"a\" {\n  mfa_methods = \"m\"\n}", `policy p cannot be read: d/p.hcl:2:17: this is no list: write ["…"]`},
		"cut":        {"path \"a\" {\n", "policy p cannot be read: d/p.hcl:2:2: object expected closing RBRACE got: EOF"},
		"JSON":       {"{\"path\":\n {,}}", "policy p cannot be read: d/p.hcl:2:3: invalid character ',' looking for beginning of object key string"},
		"argument":   {`path "a" { capabilities = ["read"] mfa_method = ["m"] }`, `policy p, path "a": "mfa_method" is unknown, and left out`},
		"capability": {`path "a" { capabilities = ["raed"] mfa_methods = ["m"] }`, `policy p, path "a": "raed" is unknown, and left out`},
		"all words":  {`name = "p" path "a" { comment = "c" policy = "read" capabilities = ["sudo", "deny", "subscribe", "scan", "patch"] min_wrapping_ttl = 1 expiration = "2030-01-01T00:00:00Z" }`, ""},
		"a panic":    {`path "\400" {}`, "policy p cannot be read: d/p.hcl: it is no policy"},
		"too deep":   {strings.Repeat("[", 20_001), "policy p cannot be read: d/p.hcl: it is too large"},
		"empty":      {"", ""},
	} {
		_, notes := build(source{namespaces: []string{""}, acl: []policyText{{name: "p", text: tt.text, file: "d/p.hcl"}}})
		if diff := cmp.Diff(tt.want, strings.Join(notes, "\n")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// A server that says whatever the map says, and 404 or 403 for the rest.
func newServer(t *testing.T, data map[string]any, forbidden ...string) *reader {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Method + " " + strings.Trim(r.Header.Get("X-Vault-Namespace")+"|"+strings.TrimPrefix(r.URL.Path, "/v1/"), "|")
		answer, ok := data[key]
		switch {
		case slices.Contains(forbidden, key):
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`))
		case !ok:
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"errors":[]}`))
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"data": answer})
		}
	}))
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client, err := vault.New(vault.Config{Name: "x", Address: address, Transport: http.DefaultTransport})
	if err != nil {
		t.Fatal(err)
	}
	return &reader{client: client, token: "t"}
}

func keys(names ...string) map[string]any { return map[string]any{"keys": names} }

func TestRead(t *testing.T) {
	t.Parallel()
	r := newServer(t, map[string]any{
		"LIST sys/namespaces":           keys("ns1/", "../x"),
		"LIST sys/policies/acl":         keys("root", "a b", "../../auth/token/x"),
		"GET sys/policies/acl/a b":      map[string]any{"policy": `path "a" { capabilities = ["read"] mfa_methods = ["corp"] }`},
		"LIST ns1|sys/policies/acl":     keys("q"),
		"GET ns1|sys/policies/acl/q":    map[string]any{"policy": `path "b" { capabilities = ["read"] mfa_methods = ["phone"] }`},
		"LIST sys/policies/egp":         keys("e"),
		"GET sys/policies/egp/e":        map[string]any{"policy": "main = rule { mfa.methods.corp.valid } # mfa.methods.no.valid", "paths": []string{"pay/*"}},
		"LIST identity/mfa/method":      map[string]any{"keys": []string{"1"}, "key_info": map[string]any{"1": map[string]any{"name": "corp", "type": "totp", "digits": 8}}},
		"GET sys/mfa/method/duo/phone":  map[string]any{"name": "phone"},
		"GET sys/mfa/method/totp/phone": nil,
	}, "LIST sys/policies/rgp")
	if err := r.read(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"pay/*: root/e=corp", "a: corp", "ns1 b: phone"}, sorted(rules(r.source), "pay", "a:", "ns1")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]method{"corp": {"totp", 8}, "phone": {kind: "duo"}}, r.methods, cmp.AllowUnexported(method{})); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{`"../x"`, "../../auth/token/x is no name", "may not read the Sentinel policies"} {
		if !slices.ContainsFunc(r.notes, func(n string) bool { return strings.Contains(n, want) }) {
			t.Errorf("no note of %s in %q", want, r.notes)
		}
	}
}

// TestReadWithinBounds: a server that lists namespaces without end, or itself, is not believed.
func TestReadWithinBounds(t *testing.T) {
	t.Parallel()
	list := []string{"root/", "/"}
	for i := range 2 * maxNotes {
		list = append(list, fmt.Sprintf("../%d", i))
	}
	r := newServer(t, map[string]any{"LIST sys/namespaces": keys(list...), "LIST sys/policies/acl": keys()})
	if err := r.read(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{""}, r.namespaces); diff != "" {
		t.Error(diff)
	}
	if len(r.notes) != maxNotes || r.more != len(list)-maxNotes {
		t.Errorf("%d notes, and %d more", len(r.notes), r.more)
	}
	var out strings.Builder
	s := &suggestion{Console: &cli.Console{Err: &out}}
	s.warn(append(r.notes, "one too many"), r.more)
	if lines := strings.Count(out.String(), "\n"); lines != maxNotes+1 || !strings.HasSuffix(out.String(), "and 203 more of that kind\n") {
		t.Errorf("%d lines: %s", lines, out.String()[max(0, out.Len()-200):])
	}
}

// sorted puts lines into the order of their beginnings.
func sorted(lines []string, order ...string) []string {
	at := func(line string) int {
		return slices.IndexFunc(order, func(start string) bool { return strings.HasPrefix(line, start) })
	}
	slices.SortFunc(lines, func(a, b string) int { return at(a) - at(b) })
	return lines
}

func TestReadWithoutPolicies(t *testing.T) {
	t.Parallel()
	if err := newServer(t, nil, "LIST sys/policies/acl").read(t.Context(), ""); err == nil {
		t.Error("a token that may read no policies is no error")
	}
}

// loads checks that what is printed is a configuration with these rules.
func loads(t *testing.T, entries []*entry) *agent.Config {
	t.Helper()
	var b strings.Builder
	b.WriteString("vault \"corp\" { address = \"https://vault.example:8200\" }\nlistener \"tcp\" { address = \"127.0.0.1:8100\" }\n")
	all := blocks(entries)
	p := printer{source: source{named: true}, taken: make(map[string]bool)}
	if err := p.print(&b, all); err != nil {
		t.Fatal(err)
	}
	c, diagnostics := config.Parse("x.hcl", []byte(b.String()), config.Options{Env: func(string) string { return "" }, Home: "/home/alice"})
	if err := diagnostics.Err(); err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	if len(c.Rules) != len(all) {
		t.Fatalf("%d rules of %d in\n%s", len(c.Rules), len(all), b.String())
	}
	for i, r := range c.Rules {
		if got := r.Paths[0].String(); got != all[i].paths[0] {
			t.Errorf("%q became %q", all[i].paths[0], got)
		}
	}
	return c
}

// What is written for policies is what their check wants.
func TestCheckOfWhatIsWritten(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`path "a/+" { capabilities = ["read"] mfa_methods = ["m"] } path "a/*" { capabilities = ["read"] mfa_methods = ["n"] }`,
		`path "a/{{identity.entity.name}}/*" { capabilities = ["read"] mfa_methods = ["m"] } path "a/*" { capabilities = ["read"] mfa_methods = ["n"] }`,
		`path "a/{{identity.entity.name}}/*" { capabilities = ["read"] } path "a/*" { capabilities = ["read"] mfa_methods = ["n"] }`,
		`path "a/+/*" { capabilities = ["read"] mfa_methods = ["m"] } path "a/*" { capabilities = ["read", "list"] mfa_methods = ["n"] }`,
		`path "a" { capabilities = ["read", "list"] control_group = { factor "f" { controlled_capabilities = ["read"] } } } path "*" { policy = "write" mfa_methods = ["n"] }`,
	} {
		entries, notes := build(source{namespaces: []string{""}, acl: []policyText{policy("p", text)}})
		c := loads(t, entries)
		if all := slices.Concat(notes, missing(c.Rules, entries), tooWide(c.Rules, entries)); len(all) > 0 {
			t.Errorf("%s\n%q", text, all)
		}
	}
}

// The name of a policy is a comment, whatever is in it.
func TestNameOfAPolicy(t *testing.T) {
	t.Parallel()
	text := `path "a" { capabilities = ["read"] mfa_methods = ["m"] }`
	entries, _ := build(source{namespaces: []string{""}, acl: []policyText{policy("p\nstep_up \"x\" {}\r\u2028", text)}})
	if c := loads(t, entries); len(c.Rules) != 1 {
		t.Errorf("%d rules", len(c.Rules))
	}
}

// The law: whatever a policy says, reading it ends, and what is written for it loads and
// has its paths.
func FuzzPolicy(f *testing.F) {
	f.Add(`path "a/*" { capabilities = ["read"] mfa_methods = ["m"] }`)
	f.Add(`{"path":[{"a":{"policy":"write","control_group":{"factor":{"x":{"identity":{}}}}}}]}`)
	f.Add(`path { capabilities = 1 }`)
	f.Add(`path "kv/${env.HOME}/%{x}" { capabilities = ["read"] mfa_methods = ["a$${b", "m:n", "${home}"] }`)
	f.Add(`path "a" { capabilities = ["read"] control_group = { factor "f" { identity { group_names = ["${home}\n", "x\"y"] approvals = 1 } } } }`)
	f.Add(`path "a" { capabilities = ["read"] control_group = { factor "f" { controlled_capabilities = ["update"] } } }`)
	f.Add(`path "+/+" { mfa_methods = [""] }`)
	f.Fuzz(func(t *testing.T, text string) {
		entries, _ := build(source{namespaces: []string{"", "ns1"}, named: true, acl: []policyText{policy("p", text)}})
		for _, e := range entries {
			if path := sample(e.text); !e.pattern.Match(path) {
				t.Errorf("%q does not match its sample %q", e.text, path)
			}
			if !rule.Writable(e.text) || !overlap(e.text, e.text) {
				t.Errorf("%q", e.text)
			}
		}
		loads(t, entries)
		for _, line := range missing(nil, entries) {
			if !strings.HasPrefix(line, "missing: no rule") {
				t.Error(line)
			}
		}
		_ = unreadable(policy("p", text), errors.New("x"))
	})
}

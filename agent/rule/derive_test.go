package rule_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/rule"
)

func TestDerive(t *testing.T) {
	t.Parallel()
	read := func(path string) rule.Request { return rule.Request{Path: path, Operation: rule.Read} }
	type test struct {
		method, target, namespace string
		want                      rule.Request // empty: not ok
	}
	tests := map[string]test{
		"read":               {"GET", "/v1/kv/data/x", "", read("kv/data/x")},
		"list by method":     {"LIST", "/v1/kv/metadata/x", "", rule.Request{Path: "kv/metadata/x/", Operation: rule.List}},
		"list by query":      {"GET", "/v1/kv/metadata/x/?list=true", "", rule.Request{Path: "kv/metadata/x/", Operation: rule.List}},
		"list, other word":   {"GET", "/v1/kv/metadata/x?list=1", "", rule.Request{Path: "kv/metadata/x/", Operation: rule.List}},
		"list=false":         {"GET", "/v1/kv/data/x?list=false", "", read("kv/data/x")},
		"list of a post":     {"POST", "/v1/kv/data/x?list=true", "", rule.Request{Path: "kv/data/x", Operation: rule.Update}},
		"scan by method":     {"SCAN", "/v1/kv/metadata/x", "", rule.Request{Path: "kv/metadata/x/", Operation: rule.Scan}},
		"scan by query":      {"GET", "/v1/kv/metadata/x?scan=true", "", rule.Request{Path: "kv/metadata/x/", Operation: rule.Scan, ByQuery: true, Slashed: true}},
		"scan with a slash":  {"GET", "/v1/kv/metadata/x/?scan=T", "", rule.Request{Path: "kv/metadata/x/", Operation: rule.Scan, ByQuery: true}},
		"scan=false":         {"GET", "/v1/kv/data/x?scan=0", "", read("kv/data/x")},
		"list and scan":      {"GET", "/v1/kv/metadata/x?scan=true&list=true", "", rule.Request{Path: "kv/metadata/x/", Operation: rule.List}},
		"put":                {"PUT", "/v1/kv/data/x", "", rule.Request{Path: "kv/data/x", Operation: rule.Update}},
		"patch":              {"PATCH", "/v1/kv/data/x", "", rule.Request{Path: "kv/data/x", Operation: rule.Patch}},
		"delete":             {"DELETE", "/v1/kv/data/x", "", rule.Request{Path: "kv/data/x", Operation: rule.Delete}},
		"namespace":          {"GET", "/v1/kv/data/x", "/ns1/sub/", rule.Request{Namespace: "ns1/sub", Path: "kv/data/x", Operation: rule.Read}},
		"root namespace":     {"GET", "/v1/kv/data/x", "root", read("kv/data/x")},
		"unclean namespace":  {"GET", "/v1/kv/data/x", "ns1//sub/../x", rule.Request{}},
		"encoded slash":      {"GET", "/v1/kv%2Fdata%2fx", "", read("kv/data/x")},
		"encoded letter":     {"GET", "/v1/kv/data/%78", "", read("kv/data/x")},
		"encoded percent":    {"GET", "/v1/kv/data/%252e%252e/x", "", read("kv/data/%2e%2e/x")},
		"odd character":      {"GET", "/v1/kv/data/a\"b", "", read("kv/data/a\"b")},
		"dots":               {"GET", "/v1/kv/data/prod/../dev/./x", "", read("kv/data/dev/x")},
		"encoded dots":       {"GET", "/v1/kv/data/prod/%2e%2e/dev", "", rule.Request{}},
		"half encoded dots":  {"GET", "/v1/kv/data/prod/.%2e/dev", "", rule.Request{}},
		"an encoded dot":     {"GET", "/v1/kv/data/%2e/dev", "", rule.Request{}},
		"dots and slashes":   {"POST", "/v1/sys/mounts/..%2f..%2fkv/data/x", "", rule.Request{}},
		"two slashes in one": {"GET", "/v1/kv/data/%2fx", "", rule.Request{}},
		"ends in two":        {"GET", "/v1/kv/data/x/%2f", "", rule.Request{}},
		"ends in one":        {"GET", "/v1/kv/data/x%2f", "", read("kv/data/x/")},
		"unclean, escaped":   {"GET", "/v1/kv//data/x%2fy", "", rule.Request{}}, // becomes x%252fy
		"unclean, odd":       {"GET", "/v1/kv//data/a\"b", "", rule.Request{}},
		"odd, encoded dots":  {"GET", "/v1/a\"/%2e%2e/kv/x", "", read("kv/x")}, // escaped anew, dots are dots
		"double slashes":     {"GET", "//v1///kv//data/x", "", read("kv/data/x")},
		"trailing slash":     {"GET", "/v1/kv/data/x/", "", read("kv/data/x/")},
		"no slash behind v1": {"GET", "/v1%2fkv/data/x", "", rule.Request{}},
		"help":               {"GET", "/v1/kv/data/x?help=1", "", rule.Request{}},
		"help of a write":    {"POST", "/v1/kv/data/x?%68elp=1", "", rule.Request{}},
		"help of a list":     {"LIST", "/v1/kv/data/x?help=0", "", rule.Request{}},
		"no help":            {"LIST", "/v1/kv/data/x?help=", "", rule.Request{Path: "kv/data/x/", Operation: rule.List}},
		"head":               {"HEAD", "/v1/kv/data/x", "", rule.Request{}},
		"options":            {"OPTIONS", "/v1/kv/data/x", "", rule.Request{}},
		"recover":            {"RECOVER", "/v1/kv/data/x", "", rule.Request{}},
		"user interface":     {"GET", "/ui/vault", "", rule.Request{}},
		"out of the api":     {"GET", "/v1/../ui", "", rule.Request{}},
		"nothing after it":   {"GET", "/v1/", "", rule.Request{}},
		"climbs above start": {"GET", "/../v1/kv/x", "", read("kv/x")},
	}
	each(t, tests, func(t *testing.T, tt test) {
		u, err := url.ParseRequestURI(tt.target)
		if err != nil {
			t.Fatal(err)
		}
		raw, query, _ := strings.Cut(tt.target, "?")
		for _, u := range []*url.URL{u, {Opaque: raw, RawQuery: query}} {
			got, ok := rule.Derive(tt.method, u, tt.namespace)
			if d := cmp.Diff(tt.want, got); d != "" || ok != (tt.want.Path != "") {
				t.Errorf("ok %v %s", ok, d)
			}
		}
	})
}

// seen is the path that a handler of Vault's gets to see of a request target, as often
// as it is redirected before; "" is none.
func seen(t *testing.T, target string) (path string, redirected bool) {
	t.Helper()
	mux := http.NewServeMux() // as in http/handler.go of Vault
	mux.HandleFunc("/v1/", func(_ http.ResponseWriter, r *http.Request) { path = r.URL.Path })
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	for range 3 {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: vault\r\n\r\n")))
		if err != nil {
			return "", redirected
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if w.Code < 300 || w.Code > 399 {
			return path, redirected
		}
		next, err := r.URL.Parse(w.Header().Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		target, redirected = next.RequestURI(), true
	}
	t.Fatalf("%q is redirected for ever", target)
	return "", true
}

// The differential law: what is derived is the path that a handler behind Vault's mux
// gets, in the end; and what arrives there clean without a detour is derived.
func FuzzDeriveAsServeMux(f *testing.F) {
	for _, s := range []string{
		"/v1/kv/data/x", "/v1/kv//data/x", "//v1/kv/x", "/v1/./kv", "/v1/a/../kv/", "/../v1/kv", "/v1%2fkv", "/%76%31/kv", "/v1/%2fkv", "/v1/kv%2f",
		"/v1/sys/mounts/..%2f..%2fkv/data/x", "/v1/a/%2e%2e/kv", "/v1/kv//a%2fb", "/v1//a%252fb", "/v1/a\"/%2e%2e/b", "/v1//a\"b", "/v1/a#b", "/v1/a;b",
		"/v1/a%", "/v1/%zz", "/v1/ä", "/v1//ä", "/v1/%c3%a4", "/v1/a+b", "/v1/a%20b", "/v1/a[b]", "/v1/a%5bb]", "/v1/*", "*", "/v1", "/v1/", "/v1/..", "/v1/kv/..",
		"/v1/kv/.", "/v1/a:b", "/v1/:", "/v1/a/..%2f../b", "/v1/..%2f", "/v1/a%2f/b", "/v1/a/%2f", "/v1/%00", "/v1//%00", "/v1/a\\..\\b", "/v1/%5c..", "/v1/a%2f.", "/v1/a^/../b",
		"http://other/v1/kv/../x", "A:v1/0", "/v1/%2e", "/v1/...", "/v1/%2e%2e%2e", "/v1/kv/%252e%252e/x", "/v1/kv//%252e",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		if strings.ContainsAny(target, " ?\t\r\n") || target == "" {
			return
		}
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		all := []*url.URL{u}
		if target[0] == '/' {
			all = append(all, &url.URL{Opaque: target})
		}
		arrived, redirected := seen(t, target)
		for _, u := range all {
			got, ok := rule.Derive("GET", u, "")
			switch inside := strings.TrimPrefix(arrived, "/v1/"); {
			case ok && arrived != "/v1/"+got.Path:
				t.Errorf("%q: derived %q, Vault sees %q", target, got.Path, arrived)
			case !ok && !redirected && strings.HasPrefix(u.EscapedPath()+u.Opaque, "/v1/") && strings.Trim(inside, "/") != "" && path.Clean("/"+inside) == "/"+strings.TrimSuffix(inside, "/"):
				t.Errorf("%q: nothing derived, Vault sees %q", target, arrived)
			}
		}
	})
}

// The law: what is derived is clean, so that no backend reads it as another path, and
// deriving it again changes nothing.
func FuzzDerive(f *testing.F) {
	f.Add("GET", "/v1/kv//data/../x?list=true", "ns")
	f.Add("GET", "/v1/sys/mounts/..%2f..%2fkv/data/x", "ns")
	f.Add("LIST", "/v1/a/", "")
	f.Add("SCAN", "/v1/a%2f", "root")
	f.Fuzz(func(t *testing.T, method, target, namespace string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r, ok := rule.Derive(method, u, namespace)
		if !ok {
			return
		}
		if c := path.Clean("/" + r.Path); c != "/"+strings.TrimSuffix(r.Path, "/") {
			t.Errorf("path %q is not clean: %q", r.Path, c)
		}
		again, ok := rule.Derive(method, &url.URL{Path: "/v1/" + r.Path, RawQuery: u.RawQuery}, r.Namespace)
		again.Slashed = r.Slashed // its slash is there now
		if !ok || again != r {
			t.Errorf("derived again: %+v, want %+v", again, r)
		}
	})
}

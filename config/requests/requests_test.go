package requests

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	t.Parallel()
	no := false
	got, problems := Parse("dir/r.hcl", []byte(`
request "all" {
  method    = "LIST"
  path      = "/v1/kv/metadata/x"
  namespace = "team"
  vault     = "corp"
  token     = false
  login     = ["m"]
  rule      = "r"
  words     = ["a", "b"]
}
request "none" {
  path  = "kv/x"
  rule  = ""
  words = []
}
request "any" {
  path = "kv/x"
  rule = "r"
}
`))
	if problems.Any() {
		t.Fatal(text(t, problems))
	}
	want := []Request{
		{"all", "LIST", "/v1/kv/metadata/x", "team", "corp", &no, []string{"m"}, "r", []string{"a", "b"}, "dir/r.hcl:2"},
		{Name: "none", Path: "kv/x", Words: []string{}, At: "dir/r.hcl:12"},
		{Name: "any", Path: "kv/x", Rule: "r", At: "dir/r.hcl:17"},
	}
	if d := cmp.Diff(want, got); d != "" { // nil and empty words are not the same
		t.Error(d)
	}
	if got[0].WithToken() || !got[1].WithToken() || (Request{Login: []string{"m"}}).WithToken() {
		t.Error("a login carries no token, and other requests do")
	}
}

func text(t *testing.T, p Problems) string {
	t.Helper()
	var b bytes.Buffer
	if err := p.Write(&b, 0, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ src, want string }{
		"nothing":          {"", "error: there is no request block\n  r.hcl:1"},
		"syntax":           {`request "a" {`, "error: syntax: "},
		"no rule":          {"request \"a\" {\n  path = \"kv/x\"\n}", "error: missing required argument\n  r.hcl:1"},
		"another argument": {"request \"a\" {\n  path = \"kv/x\"\n  rule = \"\"\n  rules = 1\n}", "error: unsupported argument\n  r.hcl:4"},
		"no words":         {"request \"a\" {\n  path = \"kv/x\"\n  rule = \"\"\n  words = 1\n}", "r.hcl:4"},
		"two of a name":    {"request \"a\" {\n  path = \"kv/x\"\n  rule = \"\"\n}\nrequest \"a\" {\n  path = \"kv/x\"\n  rule = \"\"\n}", "error: there are two requests \"a\"\n  r.hcl:5"},
		"no path":          {"request \"a\" {\n  path = \"/\"\n  rule = \"\"\n}", "error: path is not one"},
		"a blank":          {"request \"a\" {\n  path = \"kv x\"\n  rule = \"\"\n}", "error: path is not one"},
		"a method":         {"request \"a\" {\n  method = \"get\"\n  path = \"kv\"\n  rule = \"\"\n}", "error: method is not one of HTTP\n  r.hcl:2"},
		"a namespace":      {"request \"a\" {\n  namespace = \"a\\r\"\n  path = \"kv\"\n  rule = \"\"\n}", "error: namespace is not one"},
		"a variable":       {"request \"a\" {\n  path = \"kv/${x}\"\n  rule = \"\"\n}", "error: variables not allowed\n  r.hcl:2"},
		"variables":        {"variables {\n x = \"1\"\n}\nrequest \"a\" {\n  path = \"kv\"\n  rule = \"\"\n}", "error: there are no variables here\n  r.hcl:1"},
		"include":          {"include \"x\"\nrequest \"a\" {\n  path = \"kv\"\n  rule = \"\"\n}", "error: include is not possible here\n  r.hcl:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, problems := Parse("r.hcl", []byte(tt.src))
			if said := text(t, problems); got != nil || !strings.Contains(said, tt.want) {
				t.Errorf("%v, says %q, want %q", got, said, tt.want)
			}
		})
	}
}

// A file has requests or problems, and each request has what a program could send.
func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("../../examples/requests/shared.hcl")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte("request \"a\" {\n  path = \"kv\"\n  rule = null\n  words = [null]\n  token = null\n  locked = true\n}\nrequest \"a\" \"b\" {}\nrequest {}\nx = 1\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		all, problems := Parse("r.hcl", src)
		if problems.Any() != (len(all) == 0) {
			t.Fatalf("%d requests, and says %q", len(all), text(t, problems))
		}
		if said := text(t, problems); strings.ContainsAny(said, "\x1b\r\x00") {
			t.Errorf("%q", said)
		}
		names := map[string]bool{}
		for _, r := range all {
			if names[r.Name] || strings.Trim(r.Path, "/") == "" || strings.ContainsAny(r.Path+r.Namespace+r.Method, "\r\n") || !strings.HasPrefix(r.At, "r.hcl:") {
				t.Errorf("%+v", r)
			}
			names[r.Name] = true
		}
	})
}

package config

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, target, link string) {
	t.Helper()
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
}

func TestWriteFitsTheWidth(t *testing.T) {
	t.Parallel()
	src := head + "login_mfa { " + strings.Repeat(" ", 90) + "enabled = \"" + strings.Repeat("ä", 90) + "\" }"
	_, diags := Parse("stepup.hcl", []byte(src), fixed())
	var b bytes.Buffer
	if err := diags.Write(&b, 60, false); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 60 {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	if !strings.Contains(b.String(), "stepup.hcl:4\n") || !strings.Contains(b.String(), "…") {
		t.Error(b.String())
	}
}

func TestWriteMarksTheSubject(t *testing.T) {
	t.Parallel()
	_, diags := Parse("stepup.hcl", []byte(head+"\tcache { /* ü */ store = \"disk\" }"), fixed())
	want := `error: store cannot be "disk"
  stepup.hcl:4
     4 |  cache { /* ü */ store = "disk" }
       |                          ^^^^^^
hint: use one of: keyring, kernel, memory
`
	if got := report(t, diags); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestWriteColor(t *testing.T) {
	t.Parallel()
	_, diags := Parse("stepup.hcl", []byte(head+"cache { store = \"disk\" }"), fixed())
	var b bytes.Buffer
	if err := diags.Write(&b, 0, true); err != nil {
		t.Fatal(err)
	}
	const red, reset = "\x1b[1;31m", "\x1b[0m"
	if !strings.HasPrefix(b.String(), red+"error:"+reset+" ") || strings.Count(b.String(), reset) != strings.Count(b.String(), "\x1b[")/2 {
		t.Errorf("%q", b.String())
	}
}

// Control characters of a file do not reach the terminal.
func TestWriteIsPrintable(t *testing.T) {
	t.Parallel()
	_, diags := Parse("a\x1b[2J.hcl", []byte(head+"cache { \x1b]0;title\x07 \u202e st\u2028ore = \"\x9b31m\" }\r\x1b[A"), fixed())
	got := report(t, diags) + diags.Err().Error()
	if i := strings.IndexAny(got, "\x1b\x07\u202e\u2028\u009b\r"); i >= 0 {
		t.Errorf("%q", got)
	}
}

func TestErr(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, src, want string }{
		{"none", head, ""},
		{"warning", head + `prompt { command = ["/bin/true"] }`, ""},
		{"one", head + "x {}", `/etc/stepup.hcl:4: unknown block "x"`},
		{"two", head + "x {}\ny {}", `/etc/stepup.hcl:4: unknown block "x" (and 1 more error)`},
		{"three", head + "x {}\ny {}\nz {}", `/etc/stepup.hcl:4: unknown block "x" (and 2 more errors)`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, diags := Parse("/etc/stepup.hcl", []byte(tt.src), fixed())
			got := ""
			if err := diags.Err(); err != nil {
				got = err.Error()
			}
			if got != tt.want || (cfg == nil) != (tt.want != "") {
				t.Errorf("Err() = %q, want %q; config %v", got, tt.want, cfg)
			}
		})
	}
	if err := (Diagnostics{}).Err(); err != nil {
		t.Error(err)
	}
}

// A secret that was put into the file by mistake stays out of what is printed.
func TestSecretsAreMasked(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, src string }{
		{"password", head + `step_up "r" { grant "login" { password = "hunter22" } }`},
		{"password, syntax error", head + `vault "b" { password = "hunter22`},
		{"token", head + `vault "b" { token = "hunter22" }`},
		{"client_secret", head + `cache { client_secret = "hunter22" }`},
		{"user", `vault "b" { address = "https://me:hunter22@x" }`},
		{"user, broken URL", `vault "b" { address = "https://me:hunter22/x@x:y" }`},
		{"long user", `vault "b" { address = "ftp://` + strings.Repeat("x", 70) + `:hunter22@x:y" }`},
		{"from the environment", head + `log { level = "${env.HIDDEN}" }`},
		{"address from the environment", `vault "b" { address = "${env.HIDDEN}" }`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, diags := Parse("stepup.hcl", []byte(tt.src), fixed())
			if !diags.HasErrors() {
				t.Fatal("loads")
			}
			if got := report(t, diags) + diags.Err().Error(); strings.Contains(got, "hunter22") || strings.Contains(got, "topsecret") {
				t.Error(got)
			}
		})
	}
}

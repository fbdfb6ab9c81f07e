package cli

import (
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 400 * time.Millisecond: "0s", 55 * time.Second: "55s", 60 * time.Second: "1m0s",
		59*time.Minute + 59600*time.Millisecond: "1h0m", 47*time.Hour + 59*time.Minute: "1d23h",
	} {
		if got := Duration(d); got != want {
			t.Errorf("duration(%s) = %s, want %s", d, got, want)
		}
	}
}

func TestVersionOf(t *testing.T) {
	t.Parallel()
	setting := func(key, value string) debug.BuildSetting { return debug.BuildSetting{Key: key, Value: value} }
	for _, c := range []struct {
		name, version string
		settings      []debug.BuildSetting
		want          string
	}{
		{"released", "v1.2.3", []debug.BuildSetting{setting("vcs.revision", "abc")}, "v1.2.3"},
		{"nothing", "", nil, "development"},
		{"a commit", "(devel)", []debug.BuildSetting{setting("vcs.revision", "0123456789abcdef"), setting("vcs.modified", "false")}, "development-0123456789ab"},
		{"a changed commit", "(devel)", []debug.BuildSetting{setting("vcs.revision", "0123"), setting("vcs.modified", "true")}, "development-0123-modified"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := versionOf(&debug.BuildInfo{Main: debug.Module{Version: c.version}, Settings: c.settings}); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// FuzzPrintable states that what is printed stays on its line, has a bound, and
// is not changed a second time unless it was cut.
func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"plain", "a\x1b[2Jb", "\u202e\u200f\u2028", "\xff\xfe", "ü\t\n", strings.Repeat("x", 500)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Printable(s)
		if strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x2028 && r <= 0x202e }) {
			t.Errorf("%q", got)
		}
		if len(got) > 410 {
			t.Errorf("%d bytes", len(got))
		}
		if !strings.HasSuffix(got, "…") && Printable(got) != got {
			t.Errorf("%q becomes %q", got, Printable(got))
		}
	})
}

// FuzzShellQuote states that a quoted text is one word: outside of single quotes
// there is nothing that a shell looks at.
func FuzzShellQuote(f *testing.F) {
	for _, s := range []string{"", "plain", "a b", "it's", "$(x)", "`x`", "'", "[::1]:8100", "~", "a\nb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q := ShellQuote(s)
		word, quoted := "", false
		for i := 0; i < len(q); i++ {
			switch {
			case q[i] == '\'':
				quoted = !quoted
			case !quoted && q[i] == '\\':
				i++
				word += q[i : i+1]
			case !quoted && strings.IndexByte(" \t\n$`\"&|;<>()*?[]{}~#!", q[i]) >= 0:
				t.Fatalf("%q is open at %d", q, i)
			default:
				word += q[i : i+1]
			}
		}
		if quoted || word != s || q == "" {
			t.Errorf("%q is %q to a shell, want %q", q, word, s)
		}
	})
}

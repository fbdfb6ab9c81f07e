package devvault

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseMFA(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		lines []string
		want  map[string][]string
		err   string
	}{
		{"none", nil, map[string][]string{}, ""},
		{"empty line", []string{""}, map[string][]string{}, ""},
		{"name", []string{"a"}, map[string][]string{"a": {}}, ""},
		{"code", []string{"a:1"}, map[string][]string{"a": {"1"}}, ""},
		{"first colon", []string{"a:b:c"}, map[string][]string{"a": {"b:c"}}, ""},
		{"no comma", []string{"a:1, b:2"}, map[string][]string{"a": {"1, b:2"}}, ""},
		{"no trimming", []string{"a: 1"}, map[string][]string{"a": {" 1"}}, ""},
		{"a line each", []string{"a:1", "b:2", "a:3", "c", "a"}, map[string][]string{"a": {"1", "3"}, "b": {"2"}, "c": {}}, ""},
		{"no name", []string{"a:1", ":1"}, nil, textMFANoName},
		{"no value", []string{"a:"}, nil, textMFANoValue},
		{"nothing but the colon", []string{":"}, nil, textMFANoName},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseMFA(tt.lines)
			if (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(tt.want, byMethod(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Laws: what is read gives the same lines again, in the same order, without the empty ones; an error
// is one of two, and only for a line that starts or ends at its first colon.
func FuzzParseMFA(f *testing.F) {
	for _, s := range []string{"", "a", "a:1\nb", ":1", "a:", "a:1, b:2", "a: 1\n\nb:x:y", "\x00:\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		got, err := parseMFA(lines)
		bad := slices.ContainsFunc(lines, func(l string) bool {
			name, value, found := strings.Cut(l, ":")
			return found && (name == "" || value == "")
		})
		if (err != nil) != bad {
			t.Fatalf("%q: error %v", lines, err)
		}
		if err != nil {
			if err.Error() != textMFANoName && err.Error() != textMFANoValue {
				t.Errorf("error %v", err)
			}
			return
		}
		var again []string
		for _, c := range got {
			line := c.method
			if c.value != "" {
				line += ":" + c.value
			}
			again = append(again, line)
		}
		want := slices.DeleteFunc(lines, func(l string) bool { return l == "" })
		if !slices.Equal(again, want) {
			t.Errorf("%q became %q", want, again)
		}
	})
}

func TestParseWrapTTL(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		want time.Duration
		err  string
	}{
		{"", 0, ""},
		{"0", 0, ""},
		{"60", time.Minute, ""},
		{"60s", time.Minute, ""},
		{"1h30m", 90 * time.Minute, ""},
		{"2d", 48 * time.Hour, ""},
		{"-5", 0, "requested wrap ttl cannot be negative"},
		{"bad", 0, `strconv.ParseInt: parsing "ba": invalid syntax`},
		{"60x", 0, `time: unknown unit "x" in duration "60x"`},
	}
	for _, tt := range tests {
		got, err := parseWrapTTL(tt.text)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%q: %v, %v", tt.text, got, err)
		}
	}
}

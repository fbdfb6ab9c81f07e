package prompt_test

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

func TestSanitize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in, want string
		limit          int
	}{
		{"a path stays", "kv/data/prod/db-1_a.b@c:d,e+f=g", "kv/data/prod/db-1_a.b@c:d,e+f=g", 99},
		{"deleted executable", "/usr/bin/vault (deleted)", "/usr/bin/vault (deleted)", 99},
		{"colours", "\x1b[31mred\x1b[0m", "??31mred??0m", 99},
		{"second line", "kv/a\nstepup: approved", "kv/a?stepup: approved", 99},
		{"bidi", "a\u202eb\u2069", "a?b?", 99},
		{"markup", `<b>&amp;</b>`, "?b??amp??/b?", 99},
		{"expansions", "$(id) `id` ${x} #(id) %s ^x !y ~z", "?(id) ?id? ??x? ?(id) ?s ?x ?y ?z", 99},
		{"quotes", "'a' \"b\" \u2018c\u201d \\", "?a? ?b? ?c? ?", 99},
		{"invalid UTF-8", "a\xff\xfeb", "a??b", 99},
		{"look-alikes", "\u043fr\u043ed", "?r?d", 99},
		{"option", "--help", "?-help", 99},
		{"option behind blanks", "  -x", "?x", 99},
		{"blanks", "  a    b ", "a b", 99},
		{"middle is left out", "kv/data/" + strings.Repeat("x", 100) + "/end", "kv/data/x...xxxxx/end", 21},
		{"a gap of blanks is not hidden", "kv/a" + strings.Repeat(" ", 9999) + "b", "kv/a ... b", 20},
		{"tiny limit", "abcdef", "ab", 2},
		{"no room", "abcdef", "", 0},
		{"negative room", "abcdef", "", -1},
		{"empty", "", "", 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := prompt.Sanitize(c.in, c.limit); got != c.want {
				t.Errorf("Sanitize(%q, %d) = %q, want %q", c.in, c.limit, got, c.want)
			}
		})
	}
}

func TestSanitizeText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"our own words", "wrong code: wait for the next one (don't hurry); it's the \"corp_totp\" code!",
			"wrong code: wait for the next one (don't hurry); it's the 'corp_totp' code!"},
		{"list of Vault", "2 errors occurred:\n\t* bad passcode\n\t* used\n\n", "2 errors occurred: * bad passcode * used"},
		{"tag and expansion", "<b>$(id)</b> [x]", "?b??(id)?/b? (x)"},
		{"escape", "\x1b[2Jgone", "?(2Jgone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := prompt.SanitizeText(c.in, 400); got != c.want {
				t.Errorf("SanitizeText(%q) = %q, want %q", c.in, got, c.want)
			}
		})
	}
}

func FuzzSanitize(f *testing.F) {
	f.Add("kv/data/prod/*", 20)
	f.Add("-\u202e \x1b[2J", 3)
	f.Add(strings.Repeat(" -", 40), 9)
	f.Add("abc", math.MaxInt)
	f.Add("abc", math.MinInt)
	f.Add(prompttest.Hostile()[:200], 64)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		const names = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ._:/@+=,-()?"
		obey(t, s, limit, names, prompt.Sanitize)
		obey(t, s, limit, names+"';!*", prompt.SanitizeText)
	})
}

// obey checks the laws of a sanitiser.
func obey(t *testing.T, s string, limit int, allowed string, sanitize func(string, int) string) {
	t.Helper()
	got := sanitize(s, limit)
	if rest := strings.Trim(got, allowed); rest != "" {
		t.Errorf("%q lets through %q", s, rest)
	}
	if i := strings.IndexFunc(got, func(c rune) bool { return !strings.ContainsRune(allowed, c) }); i >= 0 {
		t.Errorf("%q lets through %q", s, got[i:])
	}
	if len(got) > max(limit, 0) {
		t.Errorf("%q has %d bytes, more than %d", got, len(got), limit)
	}
	if strings.HasPrefix(got, "-") || strings.TrimSpace(got) != got || strings.Contains(got, "  ") {
		t.Errorf("%q could be an option or hide its end", got)
	}
	if again := sanitize(got, limit); again != got {
		t.Errorf("not idempotent: %q, then %q", got, again)
	}
}

// Every string of a request comes clean out of Sanitized, those of fields to come as well.
func TestEveryStringIsSanitised(t *testing.T) {
	t.Parallel()
	r := prompt.Request{Enrolment: &prompt.Enrolment{}}
	eachString(reflect.ValueOf(&r).Elem(), "", func(_ string, v reflect.Value) { v.SetString(prompttest.Hostile()) })
	r.Kind, r.ID = prompt.Choose, "" // one is checked, the other given by the broker
	clean := r.Sanitized()
	eachString(reflect.ValueOf(&clean).Elem(), "", func(name string, v reflect.Value) {
		if s := v.String(); prompt.SanitizeText(s, 400) != s {
			t.Errorf("%s is %.100q", name, s)
		}
	})
	if got := (prompt.Request{Number: "1234567"}).Sanitized().Number; got != "" {
		t.Errorf("a number of %d digits is shown", len(got))
	}
}

// eachString calls do with the strings in v, and puts one element into lists that have none.
func eachString(v reflect.Value, name string, do func(name string, v reflect.Value)) {
	switch v.Kind() {
	case reflect.String:
		do(name, v)
	case reflect.Pointer:
		eachString(v.Elem(), name, do)
	case reflect.Slice:
		if v.Len() == 0 && v.CanSet() {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		for i := range v.Len() {
			eachString(v.Index(i), name, do)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type() != reflect.TypeFor[time.Time]() {
				eachString(v.Field(i), name+"."+v.Type().Field(i).Name, do)
			}
		}
	}
}

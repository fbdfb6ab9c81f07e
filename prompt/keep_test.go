package prompt_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// keeping is a question that offers once and until a lock.
func keeping(kind prompt.Kind) prompt.Request { return prompttest.Keeping(prompttest.Request(kind)) }

func TestCheckKeep(t *testing.T) {
	t.Parallel()
	code, none := keeping(prompt.Passcode), prompttest.Request(prompt.Passcode)
	both := prompttest.CodeToo(keeping(prompt.Password))
	for name, c := range map[string]struct {
		r        prompt.Request
		in, rest string
		keep     prompt.Keep
		err      error
	}{
		"a code":                         {code, "123456", "123456", "", nil},
		"a word behind it":               {code, "123 456  Once \n", "123456", "once", nil},
		"in a line of its own":           {code, "123456\nlock\n", "123456", "lock", nil},
		"the time of the rule":           {code, "123456 rule", "123456", "rule", nil},
		"by a program":                   {code, prompt.WithKeep("123456\n", "once"), "123456", "once", nil},
		"the wish for a push":            {code, "push once", "push", "once", nil},
		"a word alone":                   {code, "once", "", "", prompt.ErrAnswer},
		"a word with a blank in it":      {code, "lo ck", "", "", prompt.ErrAnswer},
		"another word":                   {code, "123456 forever", "123456forever", "", nil},
		"by a program: another word":     {code, prompt.WithKeep("123456", "forever"), "", "", prompt.ErrAnswer},
		"by a program: none":             {code, "123456\x00", "", "", prompt.ErrAnswer},
		"not offered":                    {none, "123456 once", "", "", prompt.ErrAnswer},
		"not offered, by a program":      {none, prompt.WithKeep("123456", "lock"), "", "", prompt.ErrAnswer},
		"nothing to choose":              {none, "123456 rule", "123456", "", nil},
		"a yes":                          {keeping(prompt.Confirm), "y once", "yes", "once", nil},
		"a no":                           {keeping(prompt.Confirm), "no once", "", "", prompt.ErrDenied},
		"a yes to what is not offered":   {prompttest.Request(prompt.Confirm), "y lock", "", "", prompt.ErrAnswer},
		"a password is any text":         {keeping(prompt.Password), "it is once", "it is once", "", nil},
		"a password, by a program":       {keeping(prompt.Password), prompt.WithKeep("it is once", "lock"), "it is once", "lock", nil},
		"a password and a code":          {both, "it is once\n123456 lock", "it is once\n123456", "lock", nil},
		"a password and a word":          {both, "it is once\nlock", "it is once", "lock", nil},
		"a password and a blank":         {both, "it is once\nloC k", "", "", prompt.ErrAnswer},
		"a password and no code":         {both, "it is once", "it is once", "", nil},
		"a password and an empty code":   {both, "it is once\n", "it is once", "", nil},
		"which method":                   {keeping(prompt.Choose), "corp_duo", "corp_duo", "", nil},
		"which method, by a program":     {keeping(prompt.Choose), prompt.WithKeep("2", "once"), "corp_duo", "once", nil},
		"which method and a typed word":  {keeping(prompt.Choose), "corp_duo once", "", "", prompt.ErrAnswer},
		"a code that is none of Vault's": {code, "12\u00e4 once", "", "", prompt.ErrAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := prompt.Check(c.r, c.in)
			rest, keep, fits := prompt.CutKeep(c.r, got)
			if rest != c.rest || keep != c.keep || !fits || !errors.Is(err, c.err) {
				t.Errorf("Check = %q, %v: %q and %q; want %q and %q, %v", got, err, rest, keep, c.rest, c.keep, c.err)
			}
		})
	}
}

// FuzzCheckKeep: what passes is an answer that passes alone, and a choice that is offered or
// the time of the rule. No choice is part of what goes to Vault, and none is made of a password.
func FuzzCheckKeep(f *testing.F) {
	f.Add("123456 once", uint8(0))
	f.Add("pw once\n1 lock", uint8(1))
	f.Add("0\nloC k", uint8(1))
	f.Add("y\x00lock\x00once", uint8(2))
	f.Fuzz(func(t *testing.T, s string, which uint8) {
		kinds := []prompt.Request{keeping(prompt.Passcode), prompttest.CodeToo(keeping(prompt.Password)), keeping(prompt.Confirm), keeping(prompt.Password)}
		r := kinds[int(which)%len(kinds)]
		got, err := prompt.Check(r, s)
		if err != nil {
			return
		}
		rest, keep, fits := prompt.CutKeep(r, got)
		if !fits || keep != "" && keep != prompt.KeepOnce && keep != prompt.KeepLock && keep != prompt.KeepRule || strings.Contains(rest, "\x00") {
			t.Errorf("Check(%q) = %q: %q, %q, %t", s, got, rest, keep, fits)
		}
		if again, err := prompt.Check(r, got); again != got || err != nil {
			t.Errorf("Check(%q) = %q, then %q, %v", s, got, again, err)
		}
		if r.Kind == prompt.Password && !r.TakesCode() && keep != "" && !strings.Contains(s, "\x00") {
			t.Errorf("Check(%q) takes %q from the password", s, keep)
		}
	})
}

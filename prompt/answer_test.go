package prompt_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	passcode, password, choose := prompttest.Request(prompt.Passcode), prompttest.Request(prompt.Password), prompttest.Request(prompt.Choose)
	confirm, push, both := prompttest.Request(prompt.Confirm), prompttest.Request(prompt.Push), prompttest.CodeToo(password)
	choose.Choices = []string{"corp_totp", "corp_duo", "1", "phone (totp)", "phone (duo)", "key (totp)"}
	for _, c := range []struct {
		name, in, want string
		r              prompt.Request
		err            error
	}{
		{"passcode", "123456\n", "123456", passcode, nil},
		{"passcode in groups", " 123 456 ", "123456", passcode, nil},
		{"pasted passcode", "\x1b[200~123 456\x1b[201~\n", "123456", passcode, nil},
		{"pasted password", "\x1b[200~ a b \x1b[201~\n", " a b ", password, nil},
		{"pasted password and code", "\x1b[200~pw\x1b[201~\n\x1b[200~123456\x1b[201~", "pw\n123456", both, nil},
		{"pasted choice", "\x1b[200~corp_duo\x1b[201~", "corp_duo", choose, nil},
		{"pasted no", "\x1b[200~no\x1b[201~", "", confirm, prompt.ErrDenied},
		{"a mark inside a mark", "\x1b[20\x1b[200~0~123456", "123456", passcode, nil},
		{"another escape", "\x1b[2J123456", "", passcode, prompt.ErrAnswer},
		{"passcode of another length", "1234", "1234", passcode, nil},
		{"empty passcode", " \n", "", passcode, prompt.ErrAnswer},
		{"passcode that ends the header line", "123\x00456", "", passcode, prompt.ErrAnswer},
		{"passcode with a newline inside", "123\r\nX-Vault-Token: x", "", passcode, prompt.ErrAnswer},
		{"passcode that is not ASCII", "\u0661\u0662", "", passcode, prompt.ErrAnswer},
		{"endless passcode", strings.Repeat("1", 257), "", passcode, prompt.ErrAnswer},
		{"password keeps its blanks", " a b \r\n", " a b ", password, nil},
		{"empty password", "\n", "", password, prompt.ErrAnswer},
		{"endless password", strings.Repeat("1", 4097), "", password, prompt.ErrAnswer},
		{"choice", "corp_duo\n", "corp_duo", choose, nil},
		{"choice by number", "2", "corp_duo", choose, nil},
		{"choice that looks like a number", "1", "1", choose, nil},
		{"number too high", "7", "", choose, prompt.ErrAnswer},
		{"number too low", "0", "", choose, prompt.ErrAnswer},
		{"choice by its bare name", "key\n", "key (totp)", choose, nil},
		{"name of two choices", "phone", "", choose, prompt.ErrAnswer},
		{"one of two with its type", "phone (duo)", "phone (duo)", choose, nil},
		{"no such choice", "corp", "", choose, prompt.ErrAnswer},
		{"no choice", "", "", choose, prompt.ErrAnswer},
		{"yes", "y", "yes", confirm, nil},
		{"nothing but exit 0 is a yes", "", "yes", confirm, nil},
		{"no", "No\n", "", confirm, prompt.ErrDenied},
		{"a push takes no answer", "yes", "", push, prompt.ErrAnswer},
		{"a second line is part of a password where no code may come", "pw\n12 34", "pw\n12 34", password, nil},
		// Each line by its own rules, where a code may come too.
		{"with a code: both", " p w \n123 456\n", " p w \n123456", both, nil},
		{"with a code: line ends of Windows", "pw\r\n123456\r\n", "pw\n123456", both, nil},
		{"with a code: password alone", "pw", "pw", both, nil},
		{"with a code: empty code", "pw\n", "pw", both, nil},
		{"with a code: blank code", "pw\n \t\r\n", "pw", both, nil},
		{"with a code: pasted with its line end", "pw\n\n123456", "pw\n123456", both, nil},
		{"with a code: empty password", "\n123456", "", both, prompt.ErrAnswer},
		{"with a code: nothing", "\n\n", "", both, prompt.ErrAnswer},
		{"with a code: code that is not ASCII", "pw\n\u0661\u0662", "", both, prompt.ErrAnswer},
		{"with a code: a third line", "pw\n123456\nX-Vault-Token: x", "", both, prompt.ErrAnswer},
		{"with a code: endless code", "pw\n" + strings.Repeat("1", 257), "", both, prompt.ErrAnswer},
		{"with a code: endless password", strings.Repeat("1", 4097) + "\n123456", "", both, prompt.ErrAnswer},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := prompt.Check(c.r, c.in)
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("Check = %q, %v; want %q, %v", got, err, c.want, c.err)
			}
		})
	}
}

// FuzzCheckPasswordAndCode: what passes is a password of one line and a code that is
// one, and passes again as it is.
func FuzzCheckPasswordAndCode(f *testing.F) {
	f.Add("pw\n123 456\n")
	f.Add("pw\r\n\n1\r\nX-Vault-Token: root")
	f.Add("\x1b[20\x1b[200~0~pw\x1b[201~")
	f.Fuzz(func(t *testing.T, s string) {
		r := prompttest.CodeToo(prompttest.Request(prompt.Password))
		got, err := prompt.Check(r, s)
		if err != nil {
			if got != "" {
				t.Errorf("Check(%q) = %q beside %v", s, got, err)
			}
			return
		}
		password, code := prompt.CutCode(got)
		if password == "" || !strings.HasPrefix(prompt.WithoutPasteMarks(s), password) {
			t.Errorf("Check(%q) makes the password %q of it", s, password)
		}
		if code != "" {
			if same, err := prompt.Check(prompttest.Request(prompt.Passcode), code); same != code || err != nil {
				t.Errorf("Check(%q) lets the code %q through: %q, %v", s, code, same, err)
			}
		}
		if again, err := prompt.Check(r, got); again != got || err != nil {
			t.Errorf("Check(%q) = %q, then %q, %v", s, got, again, err)
		}
	})
}

func FuzzCheckPasscode(f *testing.F) {
	f.Add("123 456\n")
	f.Add("1\r\nX-Vault-Token: root")
	f.Fuzz(func(t *testing.T, s string) {
		r := prompt.Request{Kind: prompt.Passcode}
		got, err := prompt.Check(r, s)
		if err != nil {
			if got != "" {
				t.Errorf("Check(%q) = %q beside %v", s, got, err)
			}
			return
		}
		for i := range len(got) {
			if got[i] <= ' ' || got[i] > '~' {
				t.Errorf("Check(%q) lets %q into a header line", s, got)
			}
		}
		if again, err := prompt.Check(r, got); again != got || err != nil || got == "" {
			t.Errorf("Check(%q) = %q, then %q, %v", s, got, again, err)
		}
	})
}

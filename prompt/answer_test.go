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
	choices := []string{"corp_totp", "corp_duo", "1", "phone (totp)", "phone (duo)", "key (totp)"}
	for _, c := range []struct {
		name, in, want string
		kind           prompt.Kind
		err            error
	}{
		{"passcode", "123456\n", "123456", prompt.Passcode, nil},
		{"passcode in groups", " 123 456 ", "123456", prompt.Passcode, nil},
		{"passcode of another length", "1234", "1234", prompt.Passcode, nil},
		{"empty passcode", " \n", "", prompt.Passcode, prompt.ErrAnswer},
		{"passcode that ends the header line", "123\x00456", "", prompt.Passcode, prompt.ErrAnswer},
		{"passcode with a newline inside", "123\r\nX-Vault-Token: x", "", prompt.Passcode, prompt.ErrAnswer},
		{"passcode that is not ASCII", "\u0661\u0662", "", prompt.Passcode, prompt.ErrAnswer},
		{"endless passcode", strings.Repeat("1", 257), "", prompt.Passcode, prompt.ErrAnswer},
		{"password keeps its blanks", " a b \r\n", " a b ", prompt.Password, nil},
		{"empty password", "\n", "", prompt.Password, prompt.ErrAnswer},
		{"endless password", strings.Repeat("1", 4097), "", prompt.Password, prompt.ErrAnswer},
		{"choice", "corp_duo\n", "corp_duo", prompt.Choose, nil},
		{"choice by number", "2", "corp_duo", prompt.Choose, nil},
		{"choice that looks like a number", "1", "1", prompt.Choose, nil},
		{"number too high", "7", "", prompt.Choose, prompt.ErrAnswer},
		{"number too low", "0", "", prompt.Choose, prompt.ErrAnswer},
		{"choice by its bare name", "key\n", "key (totp)", prompt.Choose, nil},
		{"name of two choices", "phone", "", prompt.Choose, prompt.ErrAnswer},
		{"one of two with its type", "phone (duo)", "phone (duo)", prompt.Choose, nil},
		{"no such choice", "corp", "", prompt.Choose, prompt.ErrAnswer},
		{"no choice", "", "", prompt.Choose, prompt.ErrAnswer},
		{"yes", "y", "yes", prompt.Confirm, nil},
		{"nothing but exit 0 is a yes", "", "yes", prompt.Confirm, nil},
		{"no", "No\n", "", prompt.Confirm, prompt.ErrDenied},
		{"a push takes no answer", "yes", "", prompt.Push, prompt.ErrAnswer},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := prompt.Check(prompt.Request{Kind: c.kind, Choices: choices}, c.in)
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("Check = %q, %v; want %q, %v", got, err, c.want, c.err)
			}
		})
	}
}

// TestCheckPasswordAndCode: each line by its own rules, where a code may come along.
func TestCheckPasswordAndCode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in, want string
		err            error
	}{
		{"both", " p w \n123 456\n", " p w \n123456", nil},
		{"line ends of Windows", "pw\r\n123456\r\n", "pw\n123456", nil},
		{"password alone", "pw", "pw", nil},
		{"empty code", "pw\n", "pw", nil},
		{"blank code", "pw\n \t\r\n", "pw", nil},
		{"pasted with its line end", "pw\n\n123456", "pw\n123456", nil},
		{"empty password", "\n123456", "", prompt.ErrAnswer},
		{"nothing", "\n\n", "", prompt.ErrAnswer},
		{"code that is not ASCII", "pw\n\u0661\u0662", "", prompt.ErrAnswer},
		{"a third line", "pw\n123456\nX-Vault-Token: x", "", prompt.ErrAnswer},
		{"endless code", "pw\n" + strings.Repeat("1", 257), "", prompt.ErrAnswer},
		{"endless password", strings.Repeat("1", 4097) + "\n123456", "", prompt.ErrAnswer},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := prompt.Check(prompttest.CodeToo(prompttest.Request(prompt.Password)), c.in)
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("Check = %q, %v; want %q, %v", got, err, c.want, c.err)
			}
		})
	}
	// Where none may come along, a second line is part of the password.
	if got, err := prompt.Check(prompttest.Request(prompt.Password), "pw\n12 34"); got != "pw\n12 34" || err != nil {
		t.Errorf("Check = %q, %v", got, err)
	}
}

// FuzzCheckPasswordAndCode: what passes is a password of one line and a code that is
// one, and passes again as it is.
func FuzzCheckPasswordAndCode(f *testing.F) {
	f.Add("pw\n123 456\n")
	f.Add("pw\r\n\n1\r\nX-Vault-Token: root")
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
		if password == "" || !strings.HasPrefix(s, password) {
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

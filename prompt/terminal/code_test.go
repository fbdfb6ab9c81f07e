//go:build unix

package terminal_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// TestTerminalPasswordAndCode: one question with two lines, of which the second is
// shown while it is typed and may be empty.
func TestTerminalPasswordAndCode(t *testing.T) {
	if !inSession(t, true) {
		return
	}
	s := newScreen(t)
	before := s.modes()
	for _, c := range []struct {
		name, code, answer, echo string
		err                      error
	}{
		{"both", "123 456\n", "hunter2\n123456", "123 456\r\n", nil},
		{"no code", "\n", "hunter2", "\r\n", nil},
		{"ctrl-c", "12\x03", "", "12^C\r\n  denied\r\n", prompt.ErrDenied},
		{"ctrl-d", "\x04", "", "\r\n  not answered here\r\n", prompt.ErrUnavailable},
		{"elsewhere", "", "", "\r\n  answered elsewhere\r\n", context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.t = t
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			out := s.prompt(ctx, plain(), prompttest.CodeToo(prompttest.Request(prompt.Password)))
			s.expect("password for auth/stepup/login/alice (not shown, ")
			s.expect(asks)
			s.typing("hunter2\n")
			if got := s.expect(asks); !strings.HasPrefix(got, "\r\n  passcode for corp_totp (6 digits, empty to be asked later, ") {
				t.Errorf("the screen shows %q", got)
			}
			if c.code == "" {
				cancel(prompt.ErrElsewhere)
			}
			s.typing(c.code)
			s.want(<-out, c.answer, c.err)
			if got := s.expect(c.echo); got != c.echo {
				t.Errorf("the screen shows %q, want %q", got, c.echo)
			}
			if diff := cmp.Diff(before, s.modes()); diff != "" {
				t.Errorf("the terminal is left in other modes:\n%s", diff)
			}
		})
	}
	t.Run("lines that do not fit", func(t *testing.T) {
		s.t = t
		out := s.prompt(t.Context(), plain(), prompttest.CodeToo(prompttest.Request(prompt.Password)))
		s.expect(asks)
		s.typing("\n")
		s.expect("please type the password, or ctrl-c to deny")
		s.expect(asks)
		s.typing("hunter2\n")
		s.expect(asks)
		s.typing("\u0661\n")
		s.expect("please type the code, or nothing to be asked for it later")
		s.expect(asks)
		s.typing("123456\n")
		s.want(<-out, "hunter2\n123456", nil)
	})
}

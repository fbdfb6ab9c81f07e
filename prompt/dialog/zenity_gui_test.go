//go:build linux

package dialog_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

func TestZenity(t *testing.T) {
	d := newDesk(t, "zenity")
	d.perform(t, "zenity", []gesture{
		{"is answered", prompt.Passcode, "123 456", []string{"Return"}, "123456", nil},
		{"denied", prompt.Passcode, "", []string{"shift+Tab", "Return"}, "", prompt.ErrDenied},
		{"closed", prompt.Passcode, "123", []string{"alt+F4"}, "", prompt.ErrDismissed},
		{"not now", prompt.Passcode, "123", []string{"Escape"}, "", prompt.ErrDismissed},
		{"that is a label", prompt.Password, "Deny", []string{"Return"}, "Deny", nil},
		{"is answered", prompt.Password, "two  words! <b>&amp;</b>\\n", []string{"Return"}, "two  words! <b>&amp;</b>\\n", nil},
		{"denied", prompt.Password, "", []string{"shift+Tab", "Return"}, "", prompt.ErrDenied},
		{"second", prompt.Choose, "", []string{"Down", "Return"}, "corp_duo", nil},
		{"first", prompt.Choose, "", []string{"Home", "Return"}, "corp_totp", nil},
		{"denied", prompt.Choose, "", []string{"shift+Tab", "Return"}, "", prompt.ErrDenied},
		{"closed", prompt.Choose, "", []string{"alt+F4"}, "", prompt.ErrDismissed},
		{"enter meant for another window", prompt.Confirm, "", []string{"Return"}, "", prompt.ErrDismissed},
		{"approved", prompt.Confirm, "", []string{"Tab", "Return"}, "yes", nil},
		{"denied", prompt.Confirm, "", []string{"shift+Tab", "Return"}, "", prompt.ErrDenied},
		{"closed", prompt.Confirm, "", []string{"alt+F4"}, "", prompt.ErrDismissed},
		{"seen", prompt.Push, "", []string{"Tab", "Return"}, "", nil},
		{"closed", prompt.Push, "", []string{"alt+F4"}, "", nil},
		{"denied", prompt.Push, "", []string{"shift+Tab", "Return"}, "", prompt.ErrDenied},
	})
}

func TestZenityConforms(t *testing.T) {
	d := newDesk(t, "zenity")
	q, kind := questions{d, make(chan prompt.Kind, 1)}, prompt.Push
	prompttest.Run(t, func(*testing.T) prompttest.Subject {
		return prompttest.Subject{
			Prompter: q,
			Shown: func() {
				if kind = <-q.asked; kind != prompt.Push { // that is not for a window
					d.shown()
				}
			},
			Answer: func(answer string) {
				switch kind {
				case prompt.Choose:
					d.press("Down", "Return")
				case prompt.Confirm:
					d.press("Tab", "Return")
				default:
					d.write(answer)
					d.press("Return")
				}
			},
			Deny: func() { d.press("shift+Tab", "Return") },
			AnswerBoth: func(password, code string) {
				d.write(password)
				d.press("Tab")
				if code != "" {
					d.write(code)
				}
				d.press("Tab", "Tab", "Return") // by the button Not now
			},
		}
	})
}

// TestZenityPasswordAndCode: one window for both, with the keys of a person.
func TestZenityPasswordAndCode(t *testing.T) {
	d := newDesk(t, "zenity", "pinentry-gtk-2")
	for _, c := range []struct {
		name           string
		password, code string
		keys           []string
		answer         string
		err            error
	}{
		{"both", "a|b\\n c", "123 456", []string{"Tab", "Tab", "Return"}, "a|b\\n c\n123456", nil},
		{"enter sends nothing, the button does", "pw", "123456", []string{"Return", "Tab", "Tab", "Return"}, "pw\n123456", nil},
		{"password alone", "Deny", "", []string{"Tab", "Tab", "Return"}, "Deny", nil},
		{"denied", "pw", "123456", []string{"Tab", "Tab", "Tab", "Return"}, "", prompt.ErrDenied},
		{"not now", "pw", "", []string{"Tab", "Return"}, "", prompt.ErrDismissed},
		{"escape", "pw", "123456", []string{"Escape"}, "", prompt.ErrDismissed},
		{"closed", "pw", "123456", []string{"alt+F4"}, "", prompt.ErrDismissed},
	} {
		t.Run(c.name, func(t *testing.T) {
			d.t = t
			result := d.ask(t.Context(), prompttest.CodeToo(fullRequest(prompt.Password)))
			d.shown()
			d.write(c.password)
			d.press("Tab")
			if c.code != "" {
				d.write(c.code)
			}
			d.shoot("zenity-password-code-" + strings.ReplaceAll(c.name, " ", "-"))
			d.press(c.keys...)
			answer, err := result()
			if answer != c.answer || !errors.Is(err, c.err) {
				t.Errorf("Prompt = %q, %v; want %q, %v", answer, err, c.answer, c.err)
			}
		})
	}
	t.Run("hostile", func(t *testing.T) {
		d.t = t
		result := d.ask(t.Context(), prompttest.CodeToo(prompttest.HostileRequest(prompt.Password)))
		d.shown()
		d.shoot("zenity-password-code-hostile")
		d.write("pw")
		d.press("Tab", "Tab", "Tab", "Return")
		if answer, err := result(); answer != "pw" || err != nil {
			t.Errorf("Prompt = %q, %v", answer, err)
		}
	})
	t.Run("no password, then one", func(t *testing.T) {
		d.t = t
		result := d.ask(t.Context(), prompttest.CodeToo(prompttest.Request(prompt.Password)))
		d.shown()
		first := d.owner()
		d.press("Tab")
		d.write("123456")
		d.press("Tab", "Tab", "Return")
		d.await("another window", func() bool { now := d.owner(); return now != "" && now != first })
		d.shown()
		d.shoot("zenity-password-code-again")
		d.write("pw")
		d.press("Tab")
		d.write("123456")
		d.press("Tab", "Tab", "Return")
		if answer, err := result(); answer != "pw\n123456" || err != nil {
			t.Errorf("Prompt = %q, %v", answer, err)
		}
	})
}

// TestZenityAgain: an answer that does not fit brings the question again, with
// the reason.
func TestZenityAgain(t *testing.T) {
	d := newDesk(t, "zenity")
	result := d.ask(t.Context(), prompttest.Request(prompt.Passcode))
	d.shown()
	first := d.owner()
	d.press("Return")
	d.await("another window", func() bool { now := d.owner(); return now != "" && now != first })
	d.shown()
	d.shoot("zenity-passcode-again")
	d.write("123456")
	d.press("Return")
	if answer, err := result(); answer != "123456" || err != nil {
		t.Errorf("Prompt = %q, %v", answer, err)
	}
}

func TestZenityTakenDown(t *testing.T) {
	d := newDesk(t, "zenity")
	t.Run("withdrawn", func(t *testing.T) {
		d.t = t
		ctx, cancel := context.WithCancelCause(t.Context())
		result := d.ask(ctx, prompttest.Request(prompt.Passcode))
		d.shown()
		cancel(prompt.ErrElsewhere)
		if _, err := result(); !errors.Is(err, context.Canceled) {
			t.Errorf("Prompt = %v, want context.Canceled", err)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		d.t = t
		r := prompttest.Request(prompt.Passcode)
		r.Deadline = time.Now().Add(2 * time.Second)
		if _, err := d.ask(t.Context(), r)(); !errors.Is(err, prompt.ErrUnavailable) || !errors.Is(err, prompt.ErrTimeout) {
			t.Errorf("Prompt = %v, want ErrUnavailable and ErrTimeout", err)
		}
	})
}

func TestZenityHostileText(t *testing.T) {
	d := newDesk(t, "zenity")
	for kind, keys := range map[prompt.Kind][]string{
		prompt.Passcode: {"1", "Return"}, prompt.Password: {"1", "Return"}, prompt.Choose: {"Home", "Return"}, prompt.Confirm: {"Tab", "Return"},
	} {
		t.Run(string(kind), func(t *testing.T) {
			d.t = t
			r := prompttest.HostileRequest(kind)
			result := d.ask(t.Context(), r)
			d.shown()
			d.shoot("zenity-hostile-" + string(kind))
			d.press(keys...)
			answer, err := result()
			if err != nil || kind == prompt.Choose && answer != r.Choices[0] {
				t.Errorf("Prompt = %.40q, %v", answer, err)
			}
		})
	}
}

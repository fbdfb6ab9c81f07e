//go:build linux

package dialog

import (
	"context"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

func TestZenity(t *testing.T) {
	passcode, password, choose := fullRequest(prompt.Passcode), fullRequest(prompt.Password), fullRequest(prompt.Choose)
	confirm, push := fullRequest(prompt.Confirm), fullRequest(prompt.Push)
	hostile, enter, deny, none := prompttest.HostileRequest, keys("Return"), keys("shift+Tab", "Return"), []string(nil)
	newScreen(t, "zenity").perform(t, "zenity", []gesture{
		{"is answered", passcode, keys("123 456"), enter, "123456", nil},
		{"denied", usual(prompt.Passcode), none, deny, "", denied()},
		{"kept once", prompttest.Keeping(passcode), keys("123 456 once"), enter, prompt.WithKeep("123456", prompt.KeepOnce), nil},
		{"closed", passcode, keys("123"), keys("alt+F4"), "", dismissed()},
		{"not now", passcode, keys("123"), keys("Escape"), "", dismissed()},
		{"that is a label", password, keys("Deny"), enter, "Deny", nil},
		{"is answered", password, keys("two  words! <b>&amp;</b>\\n"), enter, "two  words! <b>&amp;</b>\\n", nil},
		{"denied", usual(prompt.Password), none, deny, "", denied()},
		{"second", choose, none, keys("Down", "Return"), "corp_duo", nil},
		{"first", choose, none, keys("Home", "Return"), "corp_totp", nil},
		{"denied", usual(prompt.Choose), none, deny, "", denied()},
		{"closed", choose, none, keys("alt+F4"), "", dismissed()},
		{"enter meant for another window", confirm, none, enter, "", dismissed()},
		{"approved", confirm, none, keys("Tab", "Return"), "yes", nil},
		{"kept until a lock", prompttest.Keeping(confirm), none, keys("shift+Tab", "Return"), prompt.WithKeep("yes", prompt.KeepLock), nil},
		{"kept once", prompttest.Keeping(confirm), none, keys("shift+Tab", "shift+Tab", "Return"), prompt.WithKeep("yes", prompt.KeepOnce), nil},
		{"denied", usual(prompt.Confirm), none, deny, "", denied()},
		{"closed", confirm, none, keys("alt+F4"), "", dismissed()},
		{"seen", push, none, keys("Tab", "Return"), "", nil},
		{"closed", push, none, keys("alt+F4"), "", nil},
		{"denied", usual(prompt.Push), none, deny, "", denied()},
		{"hostile", hostile(prompt.Passcode), none, keys("1", "Return"), "1", nil},
		{"hostile", hostile(prompt.Password), none, keys("1", "Return"), "1", nil},
		{"hostile", hostile(prompt.Choose), none, keys("Home", "Return"), hostile(prompt.Choose).Choices[0], nil},
		{"hostile", hostile(prompt.Confirm), none, keys("Tab", "Return"), "yes", nil},
	})
}

func TestZenityConforms(t *testing.T) {
	d := newScreen(t, "zenity")
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
		}
	})
}

// questions is a desktop without the pushes that it does not show. Each prompt
// ends when its window has disappeared.
type questions struct {
	desk  *screen
	asked chan prompt.Kind // one element for each question
}

func (q questions) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	if ctx.Err() == nil {
		q.asked <- r.Kind
	}
	if r.Kind == prompt.Push {
		<-ctx.Done()
		return "", ctx.Err()
	}
	answer, err := q.desk.desktop().Prompt(ctx, r)
	for end := time.Now().Add(patience); len(q.desk.windows()) > 0 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	return answer, err
}

// TestPasswordThenCode: where a code may come with the password, the window has one field, and
// Enter sends it. The code has the next window.
func TestPasswordThenCode(t *testing.T) {
	d, both := newScreen(t, "zenity"), prompttest.CodeToo(fullRequest(prompt.Password))
	d.perform(t, "zenity", []gesture{
		{"then its code", both, keys("two words"), keys("Return"), "two words", nil},
		{"denied", both, nil, keys("shift+Tab", "Return"), "", denied()},
	})
}

// TestZenityAgain: an answer that does not fit brings the question again, with
// the reason.
func TestZenityAgain(t *testing.T) {
	d := newScreen(t, "zenity")
	end := d.ask(t.Context(), prompttest.Request(prompt.Passcode))
	d.shown()
	first := d.owner()
	d.press("Return")
	d.next(first)
	d.shoot("zenity-passcode-again")
	d.write("123456")
	d.press("Return")
	end("123456")
}

func TestZenityTakenDown(t *testing.T) {
	d := newScreen(t, "zenity")
	t.Run("withdrawn", func(t *testing.T) { d.withdraw(t, prompttest.Request(prompt.Passcode)) })
	t.Run("deadline", func(t *testing.T) {
		d.t = t
		r := prompttest.Request(prompt.Passcode)
		r.Deadline = time.Now().Add(2 * time.Second)
		d.ask(t.Context(), r)("", prompt.ErrUnavailable, prompt.ErrTimeout)
	})
}

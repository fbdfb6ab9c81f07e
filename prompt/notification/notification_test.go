package notification_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/notification"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// A postcard is a notification as a desktop without buttons gets it.
type postcard struct{ title, body string }

// sendOne shows r until it is on the screen, and returns what was shown and
// whether the prompter said that it takes no answer.
func sendOne(t *testing.T, r prompt.Request) (card postcard, notified bool) {
	t.Helper()
	cards := make(chan postcard, 1)
	n := notification.New(notification.Config{Send: func(title, body string) error {
		cards <- postcard{title, body}
		return nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	var calls atomic.Int32
	go func() {
		_, err := n.PromptOrNotify(ctx, r, func() { calls.Add(1) })
		done <- err
	}()
	card = <-cards
	synctest.Wait()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Prompt = %v, want context.Canceled", err)
	}
	if n := calls.Load(); n > 1 {
		t.Errorf("notified %d times", n)
	}
	return card, calls.Load() == 1
}

func TestPlainNotification(t *testing.T) {
	t.Parallel()
	deadline := time.Date(2030, 1, 2, 3, 4, 5, 0, time.Local)
	with := func(kind prompt.Kind, change func(*prompt.Request)) prompt.Request {
		r := prompttest.Request(kind)
		r.Deadline = deadline
		change(&r)
		return r
	}
	const head = "terraform (pid 4711) wants to read kv/data/prod/db\nVault: corp; rule: prod-kv; started by: make, zsh\n"
	const unasked = "Deny it if you did not ask for this\n"
	for _, c := range []struct {
		name string
		r    prompt.Request
		want postcard
	}{
		{"passcode", with(prompt.Passcode, func(*prompt.Request) {}), postcard{"stepup: allow reading kv/data/prod/db?", "To answer: stepup answer abc234\n" + head +
			"To deny: stepup deny abc234\nOpen until 03:04:05"}},
		{"retry with others waiting", with(prompt.Passcode, func(r *prompt.Request) {
			r.Attempt, r.Message, r.Queued = 2, "wrong code: wait for the next one", 2
		}), postcard{"stepup: allow reading kv/data/prod/db?", "To answer: stepup answer abc234\n" + head +
			"Attempt 2 of 3: wrong code: wait for the next one\n2 more questions are waiting\n" +
			"To deny: stepup deny abc234\nOpen until 03:04:05"}},
		{"password", with(prompt.Password, func(r *prompt.Request) { r.Method, r.Deadline = "", time.Time{} }), postcard{"stepup: allow reading kv/data/prod/db?", "To answer: stepup answer abc234\n" + head +
			"To deny: stepup deny abc234"}},
		{"choose", with(prompt.Choose, func(*prompt.Request) {}), postcard{"stepup: allow reading kv/data/prod/db?", "To answer: stepup answer abc234\n" + head +
			"1) corp_totp, 2) corp_duo\nTo deny: stepup deny abc234\nOpen until 03:04:05"}},
		{"choose of many", with(prompt.Choose, func(r *prompt.Request) { r.Choices = strings.Split("abcdefghijk", "") }), postcard{"stepup: allow reading kv/data/prod/db?", "To answer: stepup answer abc234\n" + head +
			"1) a, 2) b, 3) c, 4) d, 5) e, 6) f, 7) g, 8) h, 9) i, 2 more\nTo deny: stepup deny abc234\nOpen until 03:04:05"}},
		{"confirm", with(prompt.Confirm, func(r *prompt.Request) { r.Message = "a push will be sent to your phone" }), postcard{"stepup: allow reading kv/data/prod/db?", "To allow: stepup answer abc234 yes\n" + head +
			"A push will be sent to your phone\nTo deny: stepup deny abc234\nOpen until 03:04:05"}},
		{"push", with(prompt.Push, func(r *prompt.Request) { r.Method, r.MethodType = "corp_duo", "duo" }), postcard{"stepup: approve it on your phone", unasked + head +
			"Approve it on your phone (corp_duo, duo)\nTo deny: stepup deny abc234\nOpen until 03:04:05"}},
		{"a number to tap", with(prompt.Push, func(r *prompt.Request) {
			r.Method, r.MethodType, r.Number, r.Message = "okta", "okta", "42", "tap 42 in Okta Verify"
		}), postcard{"stepup: tap 42 in Okta Verify", unasked + head +
			"Tap 42 in Okta Verify (okta)\nTo deny: stepup deny abc234\nOpen until 03:04:05"}},
		{"not installed by the system", with(prompt.Passcode, func(r *prompt.Request) {
			r.Requester = prompt.Requester{PID: 7, UID: 1000, Exe: "/tmp/x/vault", Origin: prompt.OriginUser, Chain: []string{"vault"}}
		}), postcard{"stepup: allow reading kv/data/prod/db?", "To answer: stepup answer abc234\n/tmp/x/vault (pid 7, not installed by the system) wants to read kv/data/prod/db\n" +
			"Vault: corp; rule: prod-kv; no parents: started by the system or by a program that has ended\n" +
			"To deny: stepup deny abc234\nOpen until 03:04:05"}},
		{"without an ID", prompt.Request{Kind: prompt.Passcode, Rule: "r"}, postcard{"stepup: allow a step-up for rule r?",
			"An unknown program wants to step up for rule r\nRule: r"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				got, notified := sendOne(t, c.r)
				if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(postcard{})); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if notified != (c.r.Kind != prompt.Push) {
					t.Errorf("notified = %t", notified)
				}
			})
		})
	}
}

// What the desktops of macOS and Windows put into program text must not be able to
// end a string there, nor to expand.
func TestPlainNotificationOfHostileText(t *testing.T) {
	t.Parallel()
	for _, kind := range prompttest.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := prompttest.HostileRequest(kind)
				r.ID = prompttest.Hostile()
				card, _ := sendOne(t, r)
				for _, text := range []string{card.title, strings.ReplaceAll(card.body, "\n", " ")} {
					if i := strings.IndexAny(text, "$`\"\\<>&%[]{}^~|#\r\n\t\x00\x1b"); i >= 0 {
						t.Errorf("%q reaches the desktop", text[i:])
					}
					if i := strings.IndexFunc(text, func(c rune) bool { return c < ' ' || c > '~' }); i >= 0 {
						t.Errorf("%q reaches the desktop", text[i:])
					}
				}
				if !strings.HasPrefix(card.title, "stepup: ") {
					t.Errorf("title %q", card.title)
				}
				checkLines(t, card.body)
			})
		})
	}
}

// checkLines holds a body to lines that only we begin.
func checkLines(t *testing.T, body string) {
	t.Helper()
	lines := strings.Split(body, "\n")
	if len(lines) > 11 || len(body) > 1200 {
		t.Errorf("%d lines, %d bytes: too much to be read", len(lines), len(body))
	}
	for _, line := range lines {
		if strings.HasPrefix(line, "-") || strings.HasPrefix(line, "stepup: ") {
			t.Errorf("a stranger begins the line %q", line)
		}
	}
}

func TestPlainNotificationThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var calls atomic.Int32
		n := notification.New(notification.Config{Send: func(string, string) error {
			if calls.Add(1) == 1 {
				<-release
			}
			return errors.New("no desktop")
		}})
		never := func() { t.Error("notified of a notification that was not shown") }
		for range 3 { // the first one hangs, and the others behind it
			if _, err := n.PromptOrNotify(t.Context(), prompttest.Request(prompt.Passcode), never); !errors.Is(err, prompt.ErrUnavailable) {
				t.Errorf("Prompt = %v, want ErrUnavailable", err)
			}
		}
		if got := calls.Load(); got != 1 {
			t.Errorf("%d calls hang", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := n.PromptOrNotify(ctx, prompttest.Request(prompt.Push), never); !errors.Is(err, context.Canceled) {
			t.Errorf("Prompt behind one that hangs = %v, want context.Canceled", err)
		}
		close(release)
		synctest.Wait()
		if _, err := n.PromptOrNotify(t.Context(), prompttest.Request(prompt.Passcode), never); !errors.Is(err, prompt.ErrUnavailable) {
			t.Errorf("Prompt = %v, want ErrUnavailable", err)
		}
		if got := calls.Load(); got != 2 {
			t.Errorf("%d calls after the first ended, want 2", got)
		}
	})
}

func TestNotificationHasNoSecret(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		card, notified := sendOne(t, prompttest.EnrolmentRequest())
		text := card.title + "\n" + card.body
		if !notified || !strings.Contains(text, "a new secret for corp_totp") || !strings.Contains(text, "stepup attach") || strings.Contains(text, "JBSW") {
			t.Errorf("a notification, notified %v: %s", notified, text)
		}
	})
}

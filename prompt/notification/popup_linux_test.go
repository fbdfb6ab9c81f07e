package notification_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/notification"
	"github.com/vault-stepup/stepup/prompt/prompttest"
	"github.com/vault-stepup/stepup/prompt/session"
)

// What desktops can do.
func modern() []string { return []string{"body", "body-markup", "actions", "persistence"} }
func kde() []string    { return append(modern(), "inline-reply") }
func simple() []string { return []string{"body"} }

// A notified is a prompt under way.
type notified struct {
	told   chan struct{} // holds one element when the prompter said that it takes no answer
	done   chan struct{} // closed when it has returned
	answer string
	err    error
}

func askNotifier(ctx context.Context, n *notification.Prompter, r prompt.Request) *notified {
	a := &notified{told: make(chan struct{}, 9), done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.answer, a.err = n.PromptOrNotify(ctx, r, func() { a.told <- struct{}{} })
	}()
	return a
}

func (a *notified) want(t *testing.T, answer string, err error) {
	t.Helper()
	select {
	case <-a.done:
	case <-time.After(30 * time.Second):
		t.Fatal("the notifier does not return")
	}
	if a.answer != answer || !errors.Is(a.err, err) {
		t.Errorf("Prompt = %q, %v; want %q, %v", a.answer, a.err, answer, err)
	}
}

func TestNotificationIsAnswered(t *testing.T) {
	t.Parallel()
	press := func(label string) func(*testing.T, *desktop, popup) {
		return func(t *testing.T, d *desktop, p popup) { d.press(t, p, label) }
	}
	reply := func(text string) func(*testing.T, *desktop, popup) {
		return func(_ *testing.T, d *desktop, p popup) { d.emit("NotificationReplied", p.ID, text) }
	}
	closed := func(reason uint32) func(*testing.T, *desktop, popup) {
		return func(_ *testing.T, d *desktop, p popup) { d.emit("NotificationClosed", p.ID, reason) }
	}
	desktops := map[string]*sessionBus{}
	servers := map[string]*desktop{}
	for name, can := range map[string][]string{"modern": modern(), "kde": kde(), "simple": simple()} {
		desktops[name] = startBus(t)
		servers[name] = startDesktop(t, desktops[name], can, "")
	}
	for _, c := range []struct {
		name, desktop string
		kind          prompt.Kind
		buttons       []string
		act           func(*testing.T, *desktop, popup)
		answer        string
		err           error
		told          bool
	}{
		{"approve", "modern", prompt.Confirm, []string{"Approve", "Deny", "Not now"}, press("Approve"), "yes", nil, false},
		{"deny a confirmation", "modern", prompt.Confirm, []string{"Approve", "Deny", "Not now"}, press("Deny"), "", prompt.ErrDenied, false},
		{"not now", "modern", prompt.Confirm, []string{"Approve", "Deny", "Not now"}, press("Not now"), "", prompt.ErrDismissed, false},
		{"close a confirmation", "modern", prompt.Confirm, []string{"Approve", "Deny", "Not now"}, closed(2), "", prompt.ErrDismissed, false},
		{"close a confirmation that cannot be answered", "simple", prompt.Confirm, []string{}, closed(2), "", prompt.ErrDismissed, true},
		{"deny a passcode", "modern", prompt.Passcode, []string{"Deny", "Not now"}, press("Deny"), "", prompt.ErrDenied, true},
		{"type a passcode", "kde", prompt.Passcode, []string{"Enter code", "Deny", "Not now"}, reply("123 456"), "123456", nil, false},
		{"deny a passcode that could be typed", "kde", prompt.Passcode, []string{"Enter code", "Deny", "Not now"}, press("Deny"), "", prompt.ErrDenied, false},
		{"close a passcode", "kde", prompt.Passcode, []string{"Enter code", "Deny", "Not now"}, closed(2), "", prompt.ErrDismissed, false},
		{"never a password", "kde", prompt.Password, []string{"Deny", "Not now"}, press("Deny"), "", prompt.ErrDenied, true},
		{"choose", "kde", prompt.Choose, []string{"Deny", "Not now"}, press("Not now"), "", prompt.ErrDismissed, true},
		{"deny a push", "modern", prompt.Push, []string{"Deny", "OK"}, press("Deny"), "", prompt.ErrDenied, false},
		{"the desktop lets it expire", "modern", prompt.Confirm, []string{"Approve", "Deny", "Not now"}, closed(1), "", prompt.ErrUnavailable, false},
		{"another program closes it", "modern", prompt.Confirm, []string{"Approve", "Deny", "Not now"}, closed(3), "", prompt.ErrUnavailable, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := servers[c.desktop]
			a := askNotifier(t.Context(), desktops[c.desktop].notifier(), prompttest.Request(c.kind))
			p := <-d.shown
			if diff := cmp.Diff(c.buttons, p.labels()); diff != "" {
				t.Errorf("buttons (-want +got):\n%s", diff)
			}
			c.act(t, d, p)
			a.want(t, c.answer, c.err)
			if told := len(a.told) == 1; told != c.told || len(a.told) > 1 {
				t.Errorf("told %d times", len(a.told))
			}
			for len(d.closed) > 0 {
				if id := <-d.closed; id != p.ID {
					t.Errorf("notification %d was closed, ours is %d", id, p.ID)
				}
			}
		})
	}
}

func TestNotificationIsWithdrawn(t *testing.T) {
	t.Parallel()
	b := startBus(t)
	d := startDesktop(t, b, modern(), "")
	for _, kind := range []prompt.Kind{prompt.Passcode, prompt.Password, prompt.Choose, prompt.Confirm, prompt.Push} {
		ctx, cancel := context.WithCancelCause(t.Context())
		a := askNotifier(ctx, b.notifier(), prompttest.Request(kind))
		p := <-d.shown
		cancel(prompt.ErrElsewhere)
		a.want(t, "", context.Canceled)
		if id := <-d.closed; id != p.ID {
			t.Errorf("%s: notification %d was closed, ours is %d", kind, id, p.ID)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	askNotifier(ctx, b.notifier(), prompttest.Request(prompt.Push)).want(t, "", context.Canceled)
	if len(d.shown) != 0 {
		t.Error("a question that is over was shown")
	}
}

// A push is told until it is decided; that the person has put the notice away is
// no answer, and its number may be another program's then.
func TestPushNoticeThatWasRead(t *testing.T) {
	t.Parallel()
	b := startBus(t)
	d := startDesktop(t, b, modern(), "")
	for name, read := range map[string]func(popup){
		"closed": func(p popup) { d.emit("NotificationClosed", p.ID, uint32(2)) },
		"button": func(p popup) { d.press(t, p, "OK"); <-d.closed },
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		a := askNotifier(ctx, b.notifier(), prompttest.Request(prompt.Push))
		p := <-d.shown
		read(p)
		flushSignals(t, d.conn, p)
		d.emit("ActionInvoked", p.ID, p.key(t, "Deny"))
		flushSignals(t, d.conn, p)
		cancel(prompt.Decided{})
		a.want(t, "", context.Canceled)
		if len(d.closed) != 0 {
			t.Errorf("%s: a notification of another program was closed", name)
		}
		if len(a.told) != 0 {
			t.Errorf("%s: told of a push that nobody answers", name)
		}
	}
}

// flushSignals waits until the notifier behind p has received what conn sent before.
func flushSignals(t *testing.T, conn *dbus.Conn, p popup) {
	t.Helper()
	must(t, conn.Object(p.Sender, "/").Call("org.freedesktop.DBus.Peer.Ping", 0).Err)
}

func TestNotificationContent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		can  []string
		kind prompt.Kind
		want popup
	}{
		{"modern", modern(), prompt.Passcode, popup{Title: "stepup: passcode for corp_totp", Body: "a?b (pid 4711) wants to read kv/data/prod/db\n" +
			"vault corp, rule prod-kv\nasked by terraform from make from zsh\nit's the 'corp' code\nto answer: stepup answer abc234\nopen until 23:59:58"}},
		{"kde", kde(), prompt.Passcode, popup{Title: "stepup: passcode for corp_totp", Body: "a?b (pid 4711) wants to read kv/data/prod/db\n" +
			"vault corp, rule prod-kv\nasked by terraform from make from zsh\nit's the 'corp' code\ntype it here, or: stepup answer abc234\nopen until 23:59:58"}},
		{"push", modern(), prompt.Push, popup{Title: "stepup: approve it on your phone", Body: "a?b (pid 4711) wants to read kv/data/prod/db\n" +
			"vault corp, rule prod-kv\nasked by terraform from make from zsh\nit's the 'corp' code\n" +
			"approve it on your phone (corp_totp, totp)\ndeny it if you did not ask for this\nopen until 23:59:58"}},
		{"title only", nil, prompt.Passcode, popup{Title: "stepup: a?b (pid 4711) wants to read kv/data/prod/db"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := startBus(t)
			d := startDesktop(t, b, c.can, "")
			r := prompttest.Request(c.kind)
			r.Deadline = time.Date(2999, 1, 2, 23, 59, 58, 0, time.Local)
			r.Requester.Exe, r.Message = "/bin/a&b", `it's the "corp" code`
			ctx, cancel := context.WithCancel(t.Context())
			a := askNotifier(ctx, b.notifier(), r)
			got := <-d.shown
			cancel()
			a.want(t, "", context.Canceled)
			if got.App != "stepup" || got.Title != c.want.Title || got.Body != c.want.Body || got.Instead != 0 {
				t.Errorf("from %q, instead of %d\n%s\n%s\nwant\n%s\n%s", got.App, got.Instead, got.Title, got.Body, c.want.Title, c.want.Body)
			}
			if got.Hints["urgency"] != dbus.MakeVariant(byte(2)) {
				t.Errorf("urgency %v", got.Hints["urgency"])
			}
			if resident := got.Hints["resident"] == dbus.MakeVariant(true); resident != slices.Contains(c.can, "inline-reply") {
				t.Errorf("resident %t", resident)
			}
			if got.Expiry <= 0 {
				t.Errorf("expires after %d ms", got.Expiry)
			}
		})
	}
}

func TestNotificationOfHostileText(t *testing.T) {
	t.Parallel()
	for name, can := range map[string][]string{"markup": modern(), "reply": kde(), "plain": simple(), "title only": nil} {
		b := startBus(t)
		d := startDesktop(t, b, can, "")
		for _, kind := range []prompt.Kind{prompt.Passcode, prompt.Password, prompt.Choose, prompt.Confirm, prompt.Push} {
			ctx, cancel := context.WithCancel(t.Context())
			r := prompttest.HostileRequest(kind)
			r.ID = prompttest.Hostile()
			a := askNotifier(ctx, b.notifier(), r)
			p := <-d.shown
			cancel()
			a.want(t, "", context.Canceled)
			for _, text := range []string{p.Title, p.Body} {
				if i := strings.IndexAny(text, "<>&$`\"\\%\x1b\r"); i >= 0 {
					t.Errorf("%s, %s: %q reaches the desktop", name, kind, text[i:])
				}
			}
			checkLines(t, p.Body)
			if strings.Contains(p.Title, "\n") || !strings.HasPrefix(p.Title, "stepup: ") {
				t.Errorf("%s, %s: title %q", name, kind, p.Title)
			}
		}
	}
}

// What was typed into the notification and is no code is asked for again in its
// place. Desktops close the first one, with the same number, on their own.
func TestReplyThatIsNoCode(t *testing.T) {
	t.Parallel()
	b := startBus(t)
	d := startDesktop(t, b, kde(), "")
	a := askNotifier(t.Context(), b.notifier(), prompttest.Request(prompt.Passcode))
	p := <-d.shown
	for _, typed := range []string{"  ", "123\r\nX-Vault-Token: x"} {
		d.emit("NotificationReplied", p.ID, typed)
		d.emit("NotificationClosed", p.ID, uint32(2))
		again := <-d.shown
		if again.Instead != p.ID || !strings.Contains(again.Body, "that was no code: type it again") {
			t.Errorf("instead of %d, not %d: %s", again.Instead, p.ID, again.Body)
		}
	}
	d.emit("NotificationReplied", p.ID, "123456")
	a.want(t, "123456", nil)
}

func TestTwoNotificationsAtOnce(t *testing.T) {
	t.Parallel()
	b := startBus(t)
	d := startDesktop(t, b, modern(), "")
	n := b.notifier()
	ctx, cancel := context.WithCancel(t.Context())
	push := askNotifier(ctx, n, prompttest.Request(prompt.Push))
	first := <-d.shown
	question := askNotifier(t.Context(), n, prompttest.Request(prompt.Confirm))
	second := <-d.shown
	d.press(t, second, "Deny")
	question.want(t, "", prompt.ErrDenied)
	flushSignals(t, d.conn, first)
	cancel()
	push.want(t, "", context.Canceled)
}

func TestDesktopThatHangs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method string
		err    error
	}{{"GetCapabilities", prompt.ErrUnavailable}, {"Notify", prompt.ErrUnavailable}, {"CloseNotification", context.Canceled}} {
		t.Run(c.method, func(t *testing.T) {
			t.Parallel()
			b := startBus(t)
			d := startDesktop(t, b, modern(), c.method)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			a := askNotifier(ctx, b.hasty(), prompttest.Request(prompt.Passcode))
			if c.method == "CloseNotification" {
				<-d.shown
				<-a.told
				cancel()
			}
			a.want(t, "", c.err)
			if len(a.told) != 0 {
				t.Error("told of a notification that was not shown")
			}
		})
	}
}

func TestDesktopThatDies(t *testing.T) {
	t.Parallel()
	b := startBus(t)
	n := b.notifier()
	for range 2 { // each prompt finds the server that is there then
		d := startDesktop(t, b, modern(), "")
		a := askNotifier(t.Context(), n, prompttest.Request(prompt.Confirm))
		<-d.shown
		must(t, d.conn.Close())
		a.want(t, "", prompt.ErrUnavailable)
		askNotifier(t.Context(), n, prompttest.Request(prompt.Push)).want(t, "", prompt.ErrUnavailable)
	}
}

func TestBusThatFails(t *testing.T) {
	t.Parallel()
	t.Run("no server", func(t *testing.T) {
		t.Parallel()
		b := startBus(t)
		askNotifier(t.Context(), b.notifier(), prompttest.Request(prompt.Push)).want(t, "", prompt.ErrUnavailable)
	})
	t.Run("ends", func(t *testing.T) {
		t.Parallel()
		b := startBus(t)
		d := startDesktop(t, b, modern(), "")
		a := askNotifier(t.Context(), b.notifier(), prompttest.Request(prompt.Passcode))
		<-d.shown
		must(t, b.daemon.Kill())
		a.want(t, "", prompt.ErrUnavailable)
		askNotifier(t.Context(), b.notifier(), prompttest.Request(prompt.Passcode)).want(t, "", prompt.ErrUnavailable)
	})
	t.Run("stops", func(t *testing.T) {
		t.Parallel()
		b := startBus(t)
		d := startDesktop(t, b, modern(), "")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		a := askNotifier(ctx, b.hasty(), prompttest.Request(prompt.Passcode))
		<-d.shown
		<-a.told
		must(t, b.daemon.Signal(syscall.SIGSTOP))
		askNotifier(t.Context(), b.hasty(), prompttest.Request(prompt.Passcode)).want(t, "", prompt.ErrUnavailable)
		cancel()
		a.want(t, "", context.Canceled)
	})
	for name, finder := range map[string]session.Finder{
		"no session":     sessionAt(),
		"no socket":      sessionAt("DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent/bus"),
		"no unix socket": sessionAt("DBUS_SESSION_BUS_ADDRESS=unixexec:path=/bin/false"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := notification.New(notification.Config{Bus: finder.FindBus})
			askNotifier(t.Context(), n, prompttest.Request(prompt.Push)).want(t, "", prompt.ErrUnavailable)
		})
	}
}

// The requester's session is where the person sits, but a program that wants an
// approval must not choose the screen on which it is given.
func TestWhoseSessionIsTold(t *testing.T) {
	t.Parallel()
	theirs, ours := startBus(t), startBus(t)
	there, here := startDesktop(t, theirs, modern(), ""), startDesktop(t, ours, modern(), "")
	finder := sessionAt("DBUS_SESSION_BUS_ADDRESS=" + ours.address)
	finder.Proc = t.TempDir()
	must(t, os.Mkdir(filepath.Join(finder.Proc, "4711"), 0o700))
	must(t, os.WriteFile(filepath.Join(finder.Proc, "4711", "environ"), []byte("A=b\x00DBUS_SESSION_BUS_ADDRESS="+theirs.address+"\x00"), 0o600))
	n := notification.New(notification.Config{Bus: finder.FindBus})
	for kind, d := range map[prompt.Kind]*desktop{prompt.Passcode: there, prompt.Push: there, prompt.Confirm: here} {
		r := prompttest.Request(kind)
		r.Requester.UID = os.Getuid()
		a := askNotifier(t.Context(), n, r)
		d.press(t, <-d.shown, "Deny")
		a.want(t, "", prompt.ErrDenied)
	}
}

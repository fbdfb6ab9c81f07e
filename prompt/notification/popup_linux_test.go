package notification_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/messagebus/messagebustest"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/notification"
	"github.com/vault-stepup/stepup/prompt/prompttest"
	"github.com/vault-stepup/stepup/prompt/session"
)

// What desktops can do.
func modern() []string { return []string{"body", "body-markup", "actions", "persistence"} }
func gnome() []string {
	return []string{"actions", "body", "body-markup", "icon-static", "persistence", "sound"}
}
func kde() []string    { return append(modern(), "inline-reply") }
func simple() []string { return []string{"body"} }

// A fixture is a bus with a notification server.
type fixture struct {
	*sessionBus
	*desktop
}

// newFixture starts a server with these capabilities.
func newFixture(t *testing.T, can []string) fixture {
	t.Helper()
	b := startBus(t)
	return fixture{b, startDesktop(t, b, can, "")}
}

// ask prompts for a question of this kind, in the background.
func (b *sessionBus) ask(ctx context.Context, kind prompt.Kind) *question {
	return askNotifier(ctx, b.notifier(), prompttest.Request(kind))
}

// A question is a prompt under way.
type question struct {
	notified chan struct{} // holds one element when the prompter said that it takes no answer
	done     chan struct{} // closed when it has returned
	answer   string
	err      error
}

func askNotifier(ctx context.Context, n *notification.Prompter, r prompt.Request) *question {
	a := &question{notified: make(chan struct{}, 9), done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.answer, a.err = n.PromptOrNotify(ctx, r, func() { a.notified <- struct{}{} })
	}()
	return a
}

func (a *question) want(t *testing.T, answer string, err error) {
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
	click := func(_ *testing.T, d *desktop, p popup) { d.emit("ActionInvoked", p.ID, "default") }
	closed := func(reason uint32) func(*testing.T, *desktop, popup) {
		return func(_ *testing.T, d *desktop, p popup) { d.emit("NotificationClosed", p.ID, reason) }
	}
	desktops := map[string]fixture{
		"modern": newFixture(t, modern()), "kde": newFixture(t, kde()), "simple": newFixture(t, simple()),
	}
	for _, c := range []struct {
		name, desktop string
		kind          prompt.Kind
		buttons       []string
		act           func(*testing.T, *desktop, popup)
		answer        string
		err           error
		notified      bool
	}{
		{"approve", "modern", prompt.Confirm, []string{"Allow", "Deny", "Not now"}, press("Allow"), "yes", nil, false},
		{"deny a confirmation", "modern", prompt.Confirm, []string{"Allow", "Deny", "Not now"}, press("Deny"), "", prompt.ErrDenied, false},
		{"not now", "modern", prompt.Confirm, []string{"Allow", "Deny", "Not now"}, press("Not now"), "", prompt.ErrDismissed, false},
		{"close a confirmation", "modern", prompt.Confirm, []string{"Allow", "Deny", "Not now"}, closed(2), "", prompt.ErrDismissed, false},
		{"close a confirmation that cannot be answered", "simple", prompt.Confirm, []string{}, closed(2), "", prompt.ErrDismissed, true},
		{"bring a passcode back", "modern", prompt.Passcode, []string{"Answer", "Deny", "Not now"}, press("Answer"), "", prompt.ErrReopened, true},
		{"bring a password back", "kde", prompt.Password, []string{"Answer", "Deny", "Not now"}, press("Answer"), "", prompt.ErrReopened, true},
		{"click on a passcode", "modern", prompt.Passcode, []string{"Answer", "Deny", "Not now"}, click, "", prompt.ErrReopened, true},
		{"click on a confirmation", "modern", prompt.Confirm, []string{"Allow", "Deny", "Not now"}, click, "", prompt.ErrReopened, false},
		{"click where a code can be typed", "kde", prompt.Passcode, []string{"Enter passcode", "Deny", "Not now"}, click, "", prompt.ErrReopened, false},
		{"deny a passcode", "modern", prompt.Passcode, []string{"Answer", "Deny", "Not now"}, press("Deny"), "", prompt.ErrDenied, true},
		{"type a passcode", "kde", prompt.Passcode, []string{"Enter passcode", "Deny", "Not now"}, reply("123 456"), "123456", nil, false},
		{"deny a passcode that could be typed", "kde", prompt.Passcode, []string{"Enter passcode", "Deny", "Not now"}, press("Deny"), "", prompt.ErrDenied, false},
		{"close a passcode", "kde", prompt.Passcode, []string{"Enter passcode", "Deny", "Not now"}, closed(2), "", prompt.ErrDismissed, false},
		{"never a password", "kde", prompt.Password, []string{"Answer", "Deny", "Not now"}, press("Deny"), "", prompt.ErrDenied, true},
		{"choose", "kde", prompt.Choose, []string{"Answer", "Deny", "Not now"}, press("Not now"), "", prompt.ErrDismissed, true},
		{"deny a push", "modern", prompt.Push, []string{"Deny", "OK"}, press("Deny"), "", prompt.ErrDenied, false},
		{"the desktop lets it expire", "modern", prompt.Confirm, []string{"Allow", "Deny", "Not now"}, closed(1), "", prompt.ErrUnavailable, false},
		{"another program closes it", "modern", prompt.Confirm, []string{"Allow", "Deny", "Not now"}, closed(3), "", prompt.ErrUnavailable, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := desktops[c.desktop]
			a := f.ask(t.Context(), c.kind)
			p := <-f.shown
			if diff := cmp.Diff(c.buttons, p.labels()); diff != "" {
				t.Errorf("buttons (-want +got):\n%s", diff)
			}
			c.act(t, f.desktop, p)
			a.want(t, c.answer, c.err)
			if notified := len(a.notified) == 1; notified != c.notified || len(a.notified) > 1 {
				t.Errorf("notified %d times", len(a.notified))
			}
			for len(f.closed) > 0 {
				if id := <-f.closed; id != p.ID {
					t.Errorf("notification %d was closed, ours is %d", id, p.ID)
				}
			}
		})
	}
}

func TestNotificationIsWithdrawn(t *testing.T) {
	t.Parallel()
	f := newFixture(t, modern())
	for _, kind := range prompttest.Kinds() {
		ctx, cancel := context.WithCancelCause(t.Context())
		a := f.ask(ctx, kind)
		p := <-f.shown
		cancel(prompt.ErrElsewhere)
		a.want(t, "", context.Canceled)
		if id := <-f.closed; id != p.ID {
			t.Errorf("%s: notification %d was closed, ours is %d", kind, id, p.ID)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.ask(ctx, prompt.Push).want(t, "", context.Canceled)
	if len(f.shown) != 0 {
		t.Error("a question that is over was shown")
	}
}

// A push is told until it is decided; that the person has put the notice away is
// no answer, and its number may be another program's then.
func TestPushNoticeThatWasRead(t *testing.T) {
	t.Parallel()
	f := newFixture(t, modern())
	for name, read := range map[string]func(popup){
		"closed": func(p popup) { f.emit("NotificationClosed", p.ID, uint32(2)) },
		"button": func(p popup) { f.press(t, p, "OK"); <-f.closed },
		"click":  func(p popup) { f.emit("ActionInvoked", p.ID, "default"); f.emit("NotificationClosed", p.ID, uint32(2)) },
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		a := f.ask(ctx, prompt.Push)
		p := <-f.shown
		read(p)
		flushSignals(t, f.conn, p)
		f.emit("ActionInvoked", p.ID, p.key(t, "Deny"))
		flushSignals(t, f.conn, p)
		cancel(prompt.Decided{})
		a.want(t, "", context.Canceled)
		if len(f.closed) != 0 {
			t.Errorf("%s: a notification of another program was closed", name)
		}
		if len(a.notified) != 0 {
			t.Errorf("%s: notified of a push, which takes no answer", name)
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
	const head = "a?b (pid 4711) wants to read kv/data/prod/db\nVault: corp; rule: prod-kv; started by: make, zsh\nIt's the 'corp' code\n"
	const deny = "To deny: stepup deny abc234\n"
	for _, c := range []struct {
		name  string
		can   []string
		kind  prompt.Kind
		title string
		body  string
	}{
		{"modern", modern(), prompt.Passcode, "stepup: allow reading kv/data/prod/db?", "To answer: stepup answer abc234\n" + head + deny + "Open until 23:59:58"},
		{"kde", kde(), prompt.Passcode, "stepup: allow reading kv/data/prod/db?", "Type it here, or: stepup answer abc234\n" + head + deny + "Open until 23:59:58"},
		{"push", modern(), prompt.Push, "stepup: approve it on your phone", "Deny it if you did not ask for this\n" + head +
			"Approve it on your phone (corp_totp, totp)\n" + deny + "Open until 23:59:58"},
		{"confirmation", modern(), prompt.Confirm, "stepup: allow reading kv/data/prod/db?", "To allow: stepup answer abc234 yes\n" + head + deny + "Open until 23:59:58"},
		{"gnome", gnome(), prompt.Passcode, "stepup: allow reading kv/data/prod/db?",
			strings.ReplaceAll("To answer: stepup answer abc234\n"+head+deny, "\n", " \u00b7 ") + "Open until 23:59:58"},
		{"title only", nil, prompt.Passcode, "stepup: a?b (pid 4711) wants to read kv/data/prod/db", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, c.can)
			r := prompttest.Request(c.kind)
			r.Deadline = time.Date(2999, 1, 2, 23, 59, 58, 0, time.Local)
			r.Requester.Exe, r.Message = "/bin/a&b", `it's the "corp" code`
			ctx, cancel := context.WithCancel(t.Context())
			a := askNotifier(ctx, f.notifier(), r)
			got := <-f.shown
			cancel()
			a.want(t, "", context.Canceled)
			if got.Expiry <= 0 {
				t.Errorf("expires after %d ms", got.Expiry)
			}
			resident, _ := got.Hints["resident"].Value().(bool)
			if resident != slices.Contains(c.can, "inline-reply") {
				t.Errorf("resident %t", resident)
			}
			want := got // the server's part of it, and the random keys
			want.App, want.Instead, want.Title, want.Body = "stepup", 0, c.title, c.body
			want.Hints = maps.Clone(got.Hints)
			want.Hints["urgency"] = dbus.MakeVariant(byte(2))
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b dbus.Variant) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNotificationOfHostileText(t *testing.T) {
	t.Parallel()
	for name, can := range map[string][]string{"markup": modern(), "reply": kde(), "plain": simple(), "title only": nil} {
		f := newFixture(t, can)
		for _, kind := range prompttest.Kinds() {
			ctx, cancel := context.WithCancel(t.Context())
			r := prompttest.HostileRequest(kind)
			r.ID = prompttest.Hostile()
			a := askNotifier(ctx, f.notifier(), r)
			p := <-f.shown
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

// A notification that is on the screen says that another question waits.
func TestNotificationIsUpdated(t *testing.T) {
	t.Parallel()
	f := newFixture(t, modern())
	b := prompt.NewBroker(prompt.BrokerConfig{Prompters: []prompt.Named{{Name: "notification", Prompter: f.notifier()}}})
	t.Cleanup(b.Close)
	ask := func(ctx context.Context) {
		r := prompttest.Request(prompt.Confirm)
		r.Deadline = time.Time{}
		go func() { _, _ = b.Ask(ctx, r) }()
	}
	const waits = "1 more question is waiting"
	ask(t.Context())
	first := <-f.shown
	ctx, cancel := context.WithCancel(t.Context())
	ask(ctx)
	second := <-f.shown
	cancel()
	third := <-f.shown
	if strings.Contains(first.Body, waits) || !strings.Contains(second.Body, waits) || strings.Contains(third.Body, waits) {
		t.Errorf("%s\n%s\n%s", first.Body, second.Body, third.Body)
	}
	if second.Instead != first.ID || third.Instead != first.ID {
		t.Errorf("in the place of %d, %d and %d", first.ID, second.Instead, third.Instead)
	}
}

// What was typed into the notification and is no code is asked for again in its
// place. Desktops close the first one, with the same number, on their own.
func TestReplyThatIsNoCode(t *testing.T) {
	t.Parallel()
	f := newFixture(t, kde())
	a := f.ask(t.Context(), prompt.Passcode)
	p := <-f.shown
	for _, typed := range []string{"  ", "123\r\nX-Vault-Token: x"} {
		f.emit("NotificationReplied", p.ID, typed)
		f.emit("NotificationClosed", p.ID, uint32(2))
		again := <-f.shown
		if again.Instead != p.ID || !strings.Contains(again.Body, "hat was no passcode") {
			t.Errorf("instead of %d, not %d: %s", again.Instead, p.ID, again.Body)
		}
	}
	f.emit("NotificationReplied", p.ID, "123456")
	a.want(t, "123456", nil)
}

func TestTwoNotificationsAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, modern())
	n := f.notifier()
	ctx, cancel := context.WithCancel(t.Context())
	push := askNotifier(ctx, n, prompttest.Request(prompt.Push))
	first := <-f.shown
	question := askNotifier(t.Context(), n, prompttest.Request(prompt.Confirm))
	second := <-f.shown
	f.press(t, second, "Deny")
	question.want(t, "", prompt.ErrDenied)
	flushSignals(t, f.conn, first)
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
				<-a.notified
				cancel()
			}
			a.want(t, "", c.err)
			if len(a.notified) != 0 {
				t.Error("notified of a notification that was not shown")
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
		startBus(t).ask(t.Context(), prompt.Push).want(t, "", prompt.ErrUnavailable)
	})
	t.Run("ends", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, modern())
		a := f.ask(t.Context(), prompt.Passcode)
		<-f.shown
		must(t, f.Process.Kill())
		a.want(t, "", prompt.ErrUnavailable)
		f.ask(t.Context(), prompt.Passcode).want(t, "", prompt.ErrUnavailable)
	})
	t.Run("stops", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, modern())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		a := askNotifier(ctx, f.hasty(), prompttest.Request(prompt.Passcode))
		<-f.shown
		<-a.notified
		must(t, f.Process.Signal(syscall.SIGSTOP))
		askNotifier(t.Context(), f.hasty(), prompttest.Request(prompt.Passcode)).want(t, "", prompt.ErrUnavailable)
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
	theirs, ours := newFixture(t, modern()), newFixture(t, modern())
	finder := sessionAt("DBUS_SESSION_BUS_ADDRESS=" + ours.Address)
	finder.Proc = t.TempDir()
	must(t, os.Mkdir(filepath.Join(finder.Proc, "4711"), 0o700))
	environ := "A=b\x00DBUS_SESSION_BUS_ADDRESS=" + theirs.Address + "\x00"
	must(t, os.WriteFile(filepath.Join(finder.Proc, "4711", "environ"), []byte(environ), 0o600))
	n := notification.New(notification.Config{Bus: finder.FindBus})
	for kind, f := range map[prompt.Kind]fixture{prompt.Passcode: theirs, prompt.Push: theirs, prompt.Confirm: ours} {
		r := prompttest.Request(kind)
		r.Requester.UID = os.Getuid()
		a := askNotifier(t.Context(), n, r)
		f.press(t, <-f.shown, "Deny")
		a.want(t, "", prompt.ErrDenied)
	}
}

// Only the server's own signals about our notification count.
func TestForgedSignals(t *testing.T) {
	t.Parallel()
	f := newFixture(t, modern())
	forger := f.Connect(t)
	a := f.ask(t.Context(), prompt.Confirm)
	p := <-f.shown
	yes := p.key(t, "Allow")
	unicast := func(conn *dbus.Conn, iface, member string, args ...any) {
		conn.Send(&dbus.Message{Type: dbus.TypeSignal, Body: args, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(p.Sender), dbus.FieldPath: dbus.MakeVariant(notificationsPath),
			dbus.FieldInterface: dbus.MakeVariant(iface), dbus.FieldMember: dbus.MakeVariant(member),
			dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(args...)),
		}}, nil)
	}
	for name, forge := range map[string]func(){
		"another sender":        func() { must(t, forger.Emit(notificationsPath, notifications+".ActionInvoked", p.ID, yes)) },
		"another sender, to us": func() { unicast(forger, notifications, "ActionInvoked", p.ID, yes) },
		"another closes it":     func() { unicast(forger, notifications, "NotificationClosed", p.ID, uint32(2)) },
		"another replies":       func() { unicast(forger, notifications, "NotificationReplied", p.ID, "123456") },
		"another speaks as the bus": func() {
			unicast(forger, "org.freedesktop.DBus", "NameOwnerChanged", f.conn.Names()[0], f.conn.Names()[0], "")
		},
		"another number":                 func() { f.emit("ActionInvoked", p.ID+1, yes) },
		"number zero":                    func() { f.emit("ActionInvoked", uint32(0), yes) },
		"number of another type":         func() { f.emit("ActionInvoked", int32(p.ID), yes) },
		"number as text":                 func() { f.emit("ActionInvoked", "7", yes) },
		"a stale key":                    func() { f.emit("ActionInvoked", p.ID, "approve:AAAAAAAAAAAAAAAAAAAAAAAAAA") },
		"no nonce":                       func() { f.emit("ActionInvoked", p.ID, "approve") },
		"another clicks on it":           func() { unicast(forger, notifications, "ActionInvoked", p.ID, "default") },
		"a click on another":             func() { f.emit("ActionInvoked", p.ID+1, "default") },
		"the label":                      func() { f.emit("ActionInvoked", p.ID, "Allow") },
		"key of another type":            func() { f.emit("ActionInvoked", p.ID, []string{yes}) },
		"nothing":                        func() { f.emit("ActionInvoked") },
		"too much":                       func() { f.emit("ActionInvoked", p.ID, yes, "") },
		"a reply that was not asked for": func() { f.emit("NotificationReplied", p.ID, "yes") },
		"another path":                   func() { must(t, f.conn.Emit("/", notifications+".ActionInvoked", p.ID, yes)) },
		"another interface":              func() { unicast(f.conn, "org.example.Notifications", "ActionInvoked", p.ID, yes) },
		"another is closed":              func() { f.emit("NotificationClosed", p.ID+1, uint32(2)) },
	} {
		forge()
		flushSignals(t, forger, p)
		flushSignals(t, f.conn, p)
		select {
		case <-a.done:
			t.Fatalf("%s: Prompt = %q, %v", name, a.answer, a.err)
		default:
		}
	}
	f.press(t, p, "Deny")
	a.want(t, "", prompt.ErrDenied)
}

// A bus that says what no bus says does not end the agent, and the press on a button
// behind that is heard.
func TestNotificationOnMalformedMessages(t *testing.T) {
	t.Parallel()
	address := messagebustest.Serve(t, messagebustest.Answers{
		"GetCapabilities": func([]any) messagebustest.Answer {
			return messagebustest.Answer{Body: []any{[]string{"actions", "body"}}}
		},
		"Notify": func(args []any) messagebustest.Answer {
			yes := popup{Actions: args[5].([]string)}.key(t, "Allow")
			return messagebustest.Answer{Body: []any{uint32(7)}, Then: &dbus.Signal{
				Path: notificationsPath, Name: notifications + ".ActionInvoked", Body: []any{uint32(7), yes},
			}}
		},
		"CloseNotification": func([]any) messagebustest.Answer { return messagebustest.Answer{} },
	})
	n := notification.New(notification.Config{Limit: patience, Bus: blindly(address)})
	askNotifier(t.Context(), n, prompttest.Request(prompt.Confirm)).want(t, "yes", nil)
}

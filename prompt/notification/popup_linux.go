package notification

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"math"
	"os"
	"slices"
	"time"

	"github.com/vault-stepup/stepup/messagebus"
	"github.com/vault-stepup/stepup/prompt"
)

// Names of the Desktop Notifications Specification 1.2.
const (
	notifyName = "org.freedesktop.Notifications" // of the service and of its interface
	notifyPath = messagebus.Path("/org/freedesktop/Notifications")
)

// Why a notification was closed, as NotificationClosed tells it.
const closedByPerson = uint32(2)

// defaultKey is the action of a click on the notification itself. No server shows it as a
// button, and makoctl invoke takes it.
const defaultKey = "default"

// replyKey is the action that a server with the capability of the same name shows
// as a field (KDE's extension).
const replyKey = "inline-reply"

// A server is the notification server of a session.
type server struct{ config Config }

func systemDesktop(c Config) desktop {
	c.Limit = cmp.Or(c.Limit, 2*time.Second)
	return server{c}
}

func (s server) show(ctx context.Context, r prompt.Request, notified func()) (string, error) {
	requester := r.Requester
	if r.Kind == prompt.Confirm || r.Kind == used {
		// The requester must not choose the screen on which it is approved, or on which the
		// person would see what it has done.
		requester = prompt.Requester{}
	}
	p, err := s.open(ctx, requester, r)
	if err != nil {
		return "", err
	}
	defer p.bus.Close()
	return p.ask(ctx, notified)
}

// check asks for the server's capabilities.
func (s server) check(ctx context.Context) error {
	us := prompt.Requester{PID: os.Getpid(), UID: os.Getuid()}
	p, err := s.open(ctx, us, prompt.Request{Kind: prompt.Push})
	if err != nil {
		return err
	}
	p.bus.Close()
	return nil
}

// open connects to the bus of the requester's session, and asks the server there what
// it can do. The caller closes the popup's bus.
func (s server) open(ctx context.Context, requester prompt.Requester, r prompt.Request) (*popup, error) {
	address, err := s.config.Bus(ctx, requester)
	if err != nil {
		return nil, err
	}
	// The address may come from another process.
	b, err := messagebus.Open(ctx, messagebus.Config{Address: address, Trust: messagebus.Foreign, Limit: s.config.Limit})
	if err != nil {
		return nil, err
	}
	p, err := newPopup(ctx, b, r)
	if err != nil {
		b.Close()
		return nil, err
	}
	return p, nil
}

// A popup is one notification of one server.
type popup struct {
	bus     *messagebus.Conn
	server  messagebus.Object // by its unique name
	request prompt.Request
	can     capabilities
	// The keys of our buttons. Another notification may have had our number, before a
	// logout or in a server that counts anew. A key that cannot be guessed and is used
	// once keeps a click on that one from being taken for an approval.
	approve, deny, notNow, lock, answer string

	id    uint32              // 0 when it is not on the screen
	since messagebus.Sequence // of the reply that gave the id
}

// errServerEnded: nothing shows the notification any more.
var errServerEnded = errors.New("the notification server has ended")

// newPopup subscribes to the signals of the notification server and asks what it can do.
// If there is none, the bus starts one.
func newPopup(ctx context.Context, b *messagebus.Conn, r prompt.Request) (*popup, error) {
	if err := b.Ensure(ctx, notifyName); err != nil {
		return nil, err
	}
	if err := b.Follow(ctx, notifyName); err != nil {
		return nil, err
	}
	owner := b.Owners[notifyName] // its unique name
	if owner == "" {
		return nil, errServerEnded
	}
	if err := b.Subscribe(ctx, messagebus.Match{Sender: notifyName, Interface: notifyName}); err != nil {
		return nil, err
	}
	p := &popup{
		bus: b, server: messagebus.Object{Of: owner, Path: notifyPath}, request: r,
		approve: "approve:" + rand.Text(), deny: "deny:" + rand.Text(), notNow: "not-now:" + rand.Text(),
		lock: "lock:" + rand.Text(), answer: "answer:" + rand.Text(),
	}
	var listed []string
	if err := messagebus.Result(b.Call(ctx, p.server, notifyName+".GetCapabilities"), &listed); err != nil {
		return nil, err
	}
	var name, vendor, version, specification string // "" where it does not say
	_ = messagebus.Result(b.Call(ctx, p.server, notifyName+".GetServerInformation"), &name, &vendor, &version, &specification)
	has := func(c string) bool { return slices.Contains(listed, c) }
	p.can = capabilities{
		body: has("body"), markup: has("body-markup"), buttons: has("actions"), joined: name == "gnome-shell",
		// Never a password: the server sends the reply to every program that listens on
		// the bus. A code is worthless soon.
		reply: has("actions") && has(replyKey) && r.Kind == prompt.Passcode && r.Enrolment == nil,
	}
	return p, nil
}

// ask shows the popup until it is decided.
func (p *popup) ask(ctx context.Context, notified func()) (string, error) {
	if err := p.display(ctx); err != nil {
		return "", err
	}
	defer p.takeDown(ctx)
	updates := prompt.Updates(ctx)
	if p.request.Kind != prompt.Push && !p.answerable() {
		notified()
	}
	for {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case p.request.Queued = <-updates:
			if err := p.display(ctx); err != nil {
				return "", err
			}
		case s, ok := <-p.bus.Signals():
			if !ok {
				return "", errors.New("the session bus is gone")
			}
			if answer, err := p.handleSignal(ctx, s); !errors.Is(err, errOpen) {
				return answer, err
			}
		}
	}
}

func (p *popup) answerable() bool {
	return p.can.reply || p.can.buttons && p.request.Kind == prompt.Confirm
}

// display shows the popup, or its new text in the place of the old one.
func (p *popup) display(ctx context.Context) error {
	n := describe(p.request, p.can)
	// A call that is given up would leave a notification whose number we do not know.
	call := p.bus.Call(context.WithoutCancel(ctx), p.server, notifyName+".Notify",
		appName, p.id, icon(installedIcon), n.title, n.body, p.actions(), p.hints(), p.expiry())
	if err := messagebus.Result(call, &p.id); err != nil {
		return err
	}
	p.since = call.ResponseSequence
	return nil
}

// installedIcon is where the package puts our icon; only root can.
const installedIcon = "/usr/share/icons/hicolor/scalable/apps/stepup.svg"

// icon names the icon of the theme that a notification has: ours, where file is installed.
func icon(file string) string {
	if _, err := os.Stat(file); err != nil {
		return "dialog-password"
	}
	return appName
}

// clickable reports whether a click on the notification itself brings the question back. It
// never allows or denies anything: a person clicks to read more, and anything may send this key.
func (p *popup) clickable() bool {
	return p.can.buttons && p.request.Kind != prompt.Push && p.request.Kind != used
}

func (p *popup) actions() []string {
	if !p.can.buttons {
		return []string{}
	}
	if p.request.Kind == used {
		// Never Lock alone either.
		return []string{p.lock, labelLock, p.notNow, prompt.LabelOK}
	}
	var keys []string
	if p.clickable() {
		keys = append(keys, defaultKey, prompt.LabelAnswer)
	}
	if p.can.reply {
		keys = append(keys, replyKey, "Enter passcode")
	}
	if p.request.Kind == prompt.Confirm {
		keys = append(keys, p.approve, prompt.LabelAllow)
	}
	if reopens(p.request, p.can) {
		keys = append(keys, p.answer, prompt.LabelAnswer)
	}
	// Never a denial alone: dunst takes a click on the text for the only button.
	keys = append(keys, p.deny, prompt.LabelDeny, p.notNow)
	if p.request.Kind == prompt.Push {
		return append(keys, prompt.LabelOK)
	}
	return append(keys, prompt.LabelNotNow)
}

func (p *popup) hints() map[string]messagebus.Variant {
	if p.request.Kind == used {
		return map[string]messagebus.Variant{
			// Normal, not low: GNOME and KDE do not put that on the screen at all.
			"urgency":        messagebus.MakeVariant(byte(1)),
			"suppress-sound": messagebus.MakeVariant(true),
			"category":       messagebus.MakeVariant("x-stepup.use"),
		}
	}
	hints := map[string]messagebus.Variant{
		"urgency":  messagebus.MakeVariant(byte(2)), // critical: shown in "do not disturb", not hidden after seconds
		"category": messagebus.MakeVariant("x-stepup.authentication"),
	}
	if p.can.reply {
		hints["resident"] = messagebus.MakeVariant(true) // a code that does not fit can be typed again
		hints["x-kde-reply-placeholder-text"] = messagebus.MakeVariant("passcode")
	}
	return hints
}

// expiry is in milliseconds; 0 is never, and -1 leaves it to the server. It takes the popup
// down when we cannot.
func (p *popup) expiry() int32 {
	if p.request.Kind == used {
		return -1
	}
	if p.request.Deadline.IsZero() {
		return 0
	}
	return int32(min(max(time.Until(p.request.Deadline).Milliseconds(), 1000), math.MaxInt32))
}

// takeDown closes the notification after every decision: some servers keep one
// after its button was pressed.
func (p *popup) takeDown(ctx context.Context) {
	if p.id != 0 {
		_ = p.bus.Call(context.WithoutCancel(ctx), p.server, notifyName+".CloseNotification", p.id).Err
	}
}

// errOpen: nothing is decided yet.
var errOpen = errors.New("still open")

// handleSignal takes one signal. Any program on the bus can send us one. It counts only if the
// bus names the server as its sender and it is about our number.
func (p *popup) handleSignal(ctx context.Context, s *messagebus.Signal) (string, error) {
	switch {
	case p.bus.Owners.Learn(s) == notifyName:
		return "", errServerEnded
	case p.id == 0, s.Sender != p.server.Of, s.Path != notifyPath, len(s.Body) != 2, s.Body[0] != p.id:
		return "", errOpen
	}
	switch s.Name {
	case notifyName + ".ActionInvoked":
		return p.pressed(ctx, s.Body[1])
	case notifyName + ".NotificationReplied":
		return p.replied(ctx, s.Body[1])
	case notifyName + ".NotificationClosed":
		// The one before had the same number: it made room for this one.
		if s.Sequence > p.since {
			return p.closed(s.Body[1])
		}
	}
	return "", errOpen
}

func (p *popup) pressed(ctx context.Context, key any) (string, error) {
	switch {
	case !p.can.buttons:
		return "", errOpen
	case key == p.lock && p.request.Kind == used:
		return lockAnswer, nil
	case key == p.answer && reopens(p.request, p.can), key == defaultKey && p.clickable():
		return "", prompt.ErrReopened
	case key == p.approve && p.request.Kind == prompt.Confirm:
		return "yes", nil
	case key == p.deny && p.request.Kind != used:
		return "", prompt.ErrDenied
	case key == p.notNow && p.request.Kind == prompt.Push:
		p.takeDown(ctx)
	case key == p.notNow:
		return "", prompt.ErrDismissed
	}
	return "", errOpen
}

// replied takes the text that was typed into the notification, and asks again there
// when it is no code.
func (p *popup) replied(ctx context.Context, text any) (string, error) {
	typed, ok := text.(string)
	if !ok || !p.can.reply {
		return "", errOpen
	}
	answer, err := prompt.Check(p.request, typed)
	if err == nil {
		return answer, nil
	}
	p.request.Message = p.request.RetryNote(typed)
	if err := p.display(ctx); err != nil {
		return "", err
	}
	return "", errOpen
}

// closed returns the answer that the end of the notification means.
func (p *popup) closed(reason any) (string, error) {
	p.id = 0
	switch {
	case p.request.Kind == prompt.Push:
		return "", errOpen // the person has read it, and it takes no answer
	case reason == closedByPerson:
		return "", prompt.ErrDismissed
	}
	return "", errors.New("the notification was closed")
}

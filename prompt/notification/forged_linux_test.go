package notification_test

import (
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// Only the server's own signals about our notification count.
func TestForgedSignals(t *testing.T) {
	t.Parallel()
	b := startBus(t)
	d := startDesktop(t, b, modern(), "")
	forger := b.connect(t)
	a := askNotifier(t.Context(), b.notifier(), prompttest.Request(prompt.Confirm))
	p := <-d.shown
	yes := p.key(t, "Approve")
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
			unicast(forger, "org.freedesktop.DBus", "NameOwnerChanged", d.conn.Names()[0], d.conn.Names()[0], "")
		},
		"another number":         func() { d.emit("ActionInvoked", p.ID+1, yes) },
		"number zero":            func() { d.emit("ActionInvoked", uint32(0), yes) },
		"number of another type": func() { d.emit("ActionInvoked", int32(p.ID), yes) },
		"number as text":         func() { d.emit("ActionInvoked", "7", yes) },
		"a stale key":            func() { d.emit("ActionInvoked", p.ID, "approve:AAAAAAAAAAAAAAAAAAAAAAAAAA") },
		"no nonce":               func() { d.emit("ActionInvoked", p.ID, "approve") },
		"the default action":     func() { d.emit("ActionInvoked", p.ID, "default") },
		"the label":              func() { d.emit("ActionInvoked", p.ID, "Approve") },
		"key of another type":    func() { d.emit("ActionInvoked", p.ID, []string{yes}) },
		"nothing":                func() { d.emit("ActionInvoked") },
		"too much":               func() { d.emit("ActionInvoked", p.ID, yes, "") },
		"a reply that was not asked for": func() {
			d.emit("NotificationReplied", p.ID, "yes")
		},
		"another path":      func() { must(t, d.conn.Emit("/", notifications+".ActionInvoked", p.ID, yes)) },
		"another interface": func() { unicast(d.conn, "org.example.Notifications", "ActionInvoked", p.ID, yes) },
		"another is closed": func() { d.emit("NotificationClosed", p.ID+1, uint32(2)) },
	} {
		forge()
		flushSignals(t, forger, p)
		flushSignals(t, d.conn, p)
		select {
		case <-a.done:
			t.Fatalf("%s: Prompt = %q, %v", name, a.answer, a.err)
		default:
		}
	}
	d.press(t, p, "Deny")
	a.want(t, "", prompt.ErrDenied)
}

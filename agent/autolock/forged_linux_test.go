package autolock

import (
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/vault-stepup/stepup/messagebus/messagebustest"
)

// A bus that says what no bus says ends neither the agent nor the watcher.
func TestLockerOnMalformedMessages(t *testing.T) {
	t.Parallel()
	t.Run("logind", func(t *testing.T) {
		t.Parallel()
		address := messagebustest.Serve(t, messagebustest.Answers{
			"Get": func([]any) messagebustest.Answer { return messagebustest.Answer{Body: []any{dbus.MakeVariant(false)}} },
			"Inhibit": func([]any) messagebustest.Answer {
				return messagebustest.Answer{Error: "org.freedesktop.DBus.Error.AccessDenied"}
			},
			"ListSessions": func([]any) messagebustest.Answer {
				sleep := &dbus.Signal{Path: login1Path, Name: prepareForSleep, Body: []any{true}}
				return messagebustest.Answer{Body: []any{"not", "a", "list"}, Then: sleep}
			},
		})
		r := newFixture(&messagebustest.Daemon{Address: address}, "sleep", "screen_lock")
		r.sources = r.sources[:1] // the login manager
		r.start(t)
		r.wantReason(t, reasonSleep)
	})
	t.Run("screen savers", func(t *testing.T) {
		t.Parallel()
		address := messagebustest.Serve(t, messagebustest.Answers{
			"GetActive": func([]any) messagebustest.Answer {
				return messagebustest.Answer{Body: []any{[]string{"true"}}, Then: &dbus.Signal{
					Path: "/ScreenSaver", Name: "org.freedesktop.ScreenSaver.ActiveChanged", Body: []any{true},
				}}
			},
		})
		r := newFixture(&messagebustest.Daemon{Address: address}, "screen_lock")
		r.sources = r.sources[1:]
		r.start(t)
		r.wantReason(t, reasonScreen)
	})
}

package notification_test

import (
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/vault-stepup/stepup/messagebus/messagebustest"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/notification"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// A bus that says what no bus says does not end the agent, and the press on a button
// behind that is heard.
func TestNotificationOnMalformedMessages(t *testing.T) {
	t.Parallel()
	address := messagebustest.Serve(t, messagebustest.Answers{
		"GetCapabilities": func([]any) messagebustest.Answer {
			return messagebustest.Answer{Body: []any{[]string{"actions", "body"}}}
		},
		"Notify": func(args []any) messagebustest.Answer {
			yes := popup{Actions: args[5].([]string)}.key(t, "Approve")
			return messagebustest.Answer{Body: []any{uint32(7)}, Then: &dbus.Signal{
				Path: notificationsPath, Name: notifications + ".ActionInvoked", Body: []any{uint32(7), yes},
			}}
		},
		"CloseNotification": func([]any) messagebustest.Answer { return messagebustest.Answer{} },
	})
	n := notification.New(notification.Config{Limit: patience, Bus: blindly(address)})
	askNotifier(t.Context(), n, prompttest.Request(prompt.Confirm)).want(t, "yes", nil)
}

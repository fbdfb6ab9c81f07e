package keyring

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/messagebus"
)

// Names of the Secret Service API, draft 0.2 of freedesktop.org.
const (
	secretsName   = "org.freedesktop.secrets"
	secretsPath   = messagebus.Path("/org/freedesktop/secrets")
	secretsLogin  = messagebus.Path("/org/freedesktop/secrets/collection/login")
	secretService = "org.freedesktop.Secret.Service"
)

// usable returns nil when the item of a request can be worked on without a dialog, and an
// [*Error] otherwise. It only reads: go-keyring begins each operation with Unlock, which
// is what makes dialogs appear.
func usable(ctx context.Context, q request) error {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	if why := unsuitable(os.Getenv, string(release)); why != "" {
		return &Error{Disabled, why}
	}
	address := messagebus.SessionAddress(os.Getenv, os.Getuid())
	bus, err := messagebus.Open(ctx, messagebus.Config{Address: address, Trust: messagebus.Own})
	switch {
	case errors.Is(err, messagebus.ErrNoBus):
		return &Error{Missing, "there is no D-Bus session bus"}
	case err != nil:
		return &Error{Missing, "the D-Bus session bus does not answer"}
	}
	defer bus.Close()
	// go-keyring looks nowhere else, and would launch a bus of its own.
	if err := os.Setenv("DBUS_SESSION_BUS_ADDRESS", address); err != nil {
		return AsError(err)
	}
	switch err := bus.Ensure(ctx, secretsName); {
	case errors.Is(err, messagebus.ErrNoService):
		return &Error{Missing, "no secret service runs on the session bus"}
	case err != nil:
		return AsError(err)
	}
	return unlocked(ctx, bus, map[string]string{"service": q.Service, "username": q.Name})
}

const (
	whyWSL = "WSL has no keyring that can be used"
	whySSH = "in an SSH session a keyring would ask on a screen that nobody sees"
)

// unsuitable returns why no keyring is tried in this environment, "" if one may be.
func unsuitable(getenv func(string) string, kernelRelease string) string {
	if strings.Contains(strings.ToLower(kernelRelease), "microsoft") || getenv("WSL_DISTRO_NAME") != "" {
		return whyWSL
	}
	for _, name := range []string{"SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"} {
		if getenv(name) != "" {
			return whySSH
		}
	}
	return ""
}

// unlocked looks at the collection that go-keyring will take and at the item itself: some
// services lock items one by one.
func unlocked(ctx context.Context, bus *messagebus.Conn, attributes map[string]string) error {
	root := messagebus.Object{Of: secretsName, Path: secretsPath}
	collections, err := bus.Property(ctx, root, secretService+".Collections")
	if err != nil {
		return AsError(err)
	}
	path := secretsLogin
	if paths, _ := collections.([]messagebus.Path); !slices.Contains(paths, path) {
		if err := messagebus.Result(bus.Call(ctx, root, secretService+".ReadAlias", "default"), &path); err != nil {
			return AsError(err)
		}
		if path == "/" {
			return &Error{Missing, "the secret service has no default collection"}
		}
	}
	collection := messagebus.Object{Of: secretsName, Path: path}
	value, err := bus.Property(ctx, collection, "org.freedesktop.Secret.Collection.Locked")
	if err != nil {
		return AsError(err)
	}
	if locked, ok := value.(bool); !ok || locked {
		return &Error{Locked, "the default collection of the keyring is locked"}
	}
	var open, closed []messagebus.Path
	if err := messagebus.Result(bus.Call(ctx, root, secretService+".SearchItems", attributes), &open, &closed); err != nil {
		return AsError(err)
	}
	if len(open) == 0 && len(closed) > 0 {
		return &Error{Locked, "the item in the keyring is locked"}
	}
	return nil
}

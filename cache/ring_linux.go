package cache

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

// usable returns nil when the item can be worked on without a dialog, and a
// [*RingError] otherwise. It only reads: go-keyring begins each operation with
// Unlock, which is what makes dialogs appear.
func usable(ctx context.Context, service, user string) error {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	if why := unsuitable(os.Getenv, string(release)); why != "" {
		return &RingError{Condition: Disabled, Why: why}
	}
	address := messagebus.SessionAddress(os.Getenv, os.Getuid())
	bus, err := messagebus.Open(ctx, messagebus.Config{Address: address, Trust: messagebus.Own})
	switch {
	case errors.Is(err, messagebus.ErrNoBus):
		return &RingError{Condition: Missing, Why: whyNoBus}
	case err != nil:
		return &RingError{Condition: Missing, Why: whyBusDead}
	}
	defer bus.Close()
	// go-keyring looks nowhere else, and would launch a bus of its own.
	if err := os.Setenv("DBUS_SESSION_BUS_ADDRESS", address); err != nil {
		return failed(err)
	}
	switch err := bus.Ensure(ctx, secretsName); {
	case errors.Is(err, messagebus.ErrNoService):
		return &RingError{Condition: Missing, Why: whyNoService}
	case err != nil:
		return failed(err)
	}
	return unlocked(ctx, bus, map[string]string{"service": service, "username": user})
}

// unsuitable tells why no keyring is tried in this environment; "" means that
// one may be.
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

// unlocked looks at the collection that go-keyring will take and at the item
// itself: some services lock items one by one.
func unlocked(ctx context.Context, bus *messagebus.Conn, attributes map[string]string) error {
	root := messagebus.Object{Of: secretsName, Path: secretsPath}
	collections, err := bus.Property(ctx, root, secretService+".Collections")
	if err != nil {
		return failed(err)
	}
	path := secretsLogin
	if paths, _ := collections.([]messagebus.Path); !slices.Contains(paths, path) {
		if err := messagebus.Result(bus.Call(ctx, root, secretService+".ReadAlias", "default"), &path); err != nil {
			return failed(err)
		}
		if path == "/" {
			return &RingError{Condition: Missing, Why: whyNoDefault}
		}
	}
	value, err := bus.Property(ctx, messagebus.Object{Of: secretsName, Path: path}, "org.freedesktop.Secret.Collection.Locked")
	if err != nil {
		return failed(err)
	}
	if locked, ok := value.(bool); !ok || locked {
		return &RingError{Condition: Locked, Why: whyCollection}
	}
	var open, closed []messagebus.Path
	if err := messagebus.Result(bus.Call(ctx, root, secretService+".SearchItems", attributes), &open, &closed); err != nil {
		return failed(err)
	}
	if len(open) == 0 && len(closed) > 0 {
		return &RingError{Condition: Locked, Why: whyItem}
	}
	return nil
}

func failed(err error) error {
	return &RingError{Condition: Failed, Why: whyOther(err.Error(), "")}
}

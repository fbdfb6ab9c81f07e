package cache

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Names of the Secret Service API, draft 0.2 of freedesktop.org.
const (
	secretsName   = "org.freedesktop.secrets"
	secretsPath   = dbus.ObjectPath("/org/freedesktop/secrets")
	secretsLogin  = dbus.ObjectPath("/org/freedesktop/secrets/collection/login")
	secretService = "org.freedesktop.Secret.Service"
	busName       = "org.freedesktop.DBus"
	getProperty   = "org.freedesktop.DBus.Properties.Get"
)

// usable returns nil when the item can be worked on without a dialog, and a
// [*RingError] otherwise. It only reads: go-keyring begins each operation with
// Unlock, which is what makes dialogs appear.
func usable(ctx context.Context, service, user string) error {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	if why := unsuitable(os.Getenv, string(release)); why != "" {
		return &RingError{Condition: Disabled, Why: why}
	}
	// A connection of our own: closing the shared one would take it away from
	// go-keyring. Without a bus none is launched; when one is found, godbus
	// leaves its address in the environment, where go-keyring finds it.
	conn, err := dbus.SessionBusPrivateNoAutoStartup(dbus.WithContext(ctx))
	if err != nil {
		return &RingError{Condition: Missing, Why: whyNoBus}
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Auth(nil); err != nil {
		return &RingError{Condition: Missing, Why: whyBusDead}
	}
	if err := conn.Hello(); err != nil {
		return &RingError{Condition: Missing, Why: whyBusDead}
	}
	if !hasSecretService(ctx, conn) {
		return &RingError{Condition: Missing, Why: whyNoService}
	}
	return unlocked(ctx, conn, map[string]string{"service": service, "username": user})
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

func hasSecretService(ctx context.Context, conn *dbus.Conn) bool {
	var owned bool
	err := conn.BusObject().CallWithContext(ctx, busName+".NameHasOwner", 0, secretsName).Store(&owned)
	if err != nil || owned {
		return owned
	}
	var names []string
	err = conn.BusObject().CallWithContext(ctx, busName+".ListActivatableNames", 0).Store(&names)
	return err == nil && slices.Contains(names, secretsName)
}

// unlocked looks at the collection that go-keyring will take and at the item
// itself: some services lock items one by one.
func unlocked(ctx context.Context, conn *dbus.Conn, attributes map[string]string) error {
	root := conn.Object(secretsName, secretsPath)
	var value dbus.Variant
	err := root.CallWithContext(ctx, getProperty, 0, secretService, "Collections").Store(&value)
	if err != nil {
		return failed(err)
	}
	path := secretsLogin
	if paths, _ := value.Value().([]dbus.ObjectPath); !slices.Contains(paths, path) {
		if err := root.CallWithContext(ctx, secretService+".ReadAlias", 0, "default").Store(&path); err != nil {
			return failed(err)
		}
		if path == "/" {
			return &RingError{Condition: Missing, Why: whyNoDefault}
		}
	}
	err = conn.Object(secretsName, path).
		CallWithContext(ctx, getProperty, 0, "org.freedesktop.Secret.Collection", "Locked").Store(&value)
	if err != nil {
		return failed(err)
	}
	if locked, ok := value.Value().(bool); !ok || locked {
		return &RingError{Condition: Locked, Why: whyCollection}
	}
	var open, closed []dbus.ObjectPath
	err = root.CallWithContext(ctx, secretService+".SearchItems", 0, attributes).Store(&open, &closed)
	if err != nil {
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

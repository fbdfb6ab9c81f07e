package keyring

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/vault-stepup/stepup/messagebus"
)

// openBus opens a connection to the bus with the secret service. Its error is an [*Error].
func openBus(ctx context.Context) (*messagebus.Conn, error) {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	if why := unsuitable(os.Getenv, string(release)); why != "" {
		return nil, &Error{Disabled, why}
	}
	address := messagebus.SessionAddress(os.Getenv, os.Getuid())
	bus, err := messagebus.Open(ctx, messagebus.Config{Address: address, Trust: messagebus.Own})
	switch {
	case errors.Is(err, messagebus.ErrNoBus):
		return nil, &Error{Missing, "there is no D-Bus session bus"}
	case err != nil:
		return nil, &Error{Missing, "the D-Bus session bus does not answer"}
	}
	// go-keyring looks nowhere else, and would launch a bus of its own.
	err = os.Setenv("DBUS_SESSION_BUS_ADDRESS", address)
	if err == nil {
		err = bus.Ensure(ctx, secretsName)
	}
	if err == nil {
		return bus, nil
	}
	bus.Close()
	if errors.Is(err, messagebus.ErrNoService) {
		return nil, &Error{Missing, "no secret service runs on the session bus"}
	}
	return nil, AsError(err)
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

package daemon

import (
	"context"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// A serviceManager is the systemd that started this process, as sd_notify(3) has it.
// Without NOTIFY_SOCKET there is none, and its methods do nothing.
type serviceManager struct {
	socket   string        // where it listens; "" where there is none
	watchdog time.Duration // without a message for so long, it ends this process; 0 means never
	sockets  []*os.File    // that it has opened for us
}

// newServiceManager removes the variables of systemd from the environment: the
// programs that we start shall neither speak for us nor take our sockets.
func newServiceManager() serviceManager {
	m := serviceManager{socket: os.Getenv("NOTIFY_SOCKET"), sockets: activation.Files(true)}
	m.watchdog, _ = daemon.SdWatchdogEnabled(true) // on an error there is no watchdog
	_ = os.Unsetenv("NOTIFY_SOCKET")
	return m
}

// tell sends lines of NAME=value. It ignores errors: without a manager that listens, the
// agent serves all the same.
func (m serviceManager) tell(lines string) {
	if m.socket == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(lines))
}

func (m serviceManager) ready(status string) {
	m.tell(daemon.SdNotifyReady + "\nSTATUS=" + cli.Printable(status))
}

func (m serviceManager) reloading() {
	m.tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

func (m serviceManager) stopping() { m.tell(daemon.SdNotifyStopping) }

// guard sends watchdog messages until ctx ends, as long as alive has no error. It calls
// alive three times within the limit, so that one slow answer does not end the process.
func (m serviceManager) guard(ctx context.Context, alive func(context.Context) error, log *slog.Logger) {
	if m.socket == "" || m.watchdog == 0 {
		return
	}
	tick := time.NewTicker(m.watchdog / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		limited, cancel := context.WithTimeout(ctx, m.watchdog/3)
		err := alive(limited)
		cancel()
		if err == nil {
			m.tell(daemon.SdNotifyWatchdog)
		} else if ctx.Err() == nil {
			log.Error("the agent does not answer itself; the service manager will restart it", "error", err)
		}
	}
}

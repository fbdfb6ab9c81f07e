package listener

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/ownership"
)

// Errors of listeners and the runtime folder.
var (
	// ErrRunning: another agent has the runtime folder.
	ErrRunning = errors.New("another agent is running")
	// ErrUnsafe: the address, file or folder would let other users in; it was
	// left as it is.
	ErrUnsafe = errors.New("unsafe listener")
)

// Listen opens a listener: network is "tcp" with a loopback address, or "unix"
// with an absolute path. An address that other users could use is an error wrapping
// ErrUnsafe. The caller closes the listener; closing removes the socket file.
func Listen(ctx context.Context, network, address string) (net.Listener, error) {
	switch network {
	case "tcp":
		return listenTCP(ctx, address)
	case "unix":
		return listenUnix(ctx, filepath.Clean(address))
	}
	return nil, fmt.Errorf("unknown kind of listener %q", network)
}

func listenTCP(ctx context.Context, address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listener: %w", err)
	}
	// Not looked up: a name server or a hosts file must not decide which interface
	// localhost is.
	if strings.EqualFold(host, "localhost") {
		host = "127.0.0.1"
	}
	// The configuration has been checked for this; a listener may also be made
	// from elsewhere, and this is the last place to notice.
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.Unmap().IsLoopback() {
		return nil, fmt.Errorf("%w: "+wordsNotLoopback, ErrUnsafe, address)
	}
	lc := net.ListenConfig{Control: exclusivePort}
	// Identifying a peer looks for one TCP connection, not for several paths.
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(ip.Unmap().String(), port))
	if err != nil {
		return nil, fmt.Errorf("listener: %w", err)
	}
	return ln, nil
}

// removeStale removes the socket file of an agent that was killed. It removes
// nothing else: a configuration may name any file.
func removeStale(path string) error {
	file, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listener: %w", err)
	}
	if file.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%w: "+wordsNotSocket, ErrUnsafe, path)
	}
	if !ownership.Ours(file) {
		return fmt.Errorf("%w: "+wordsNotOurs, ErrUnsafe, path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = c.Close()
	}
	if !refusedConn(err) { // also when it is too busy to answer
		return fmt.Errorf("listener: another program, or the service manager, answers on %s; stop it (`systemctl --user stop stepup.socket`) or choose another path", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listener: %w", err)
	}
	return nil
}

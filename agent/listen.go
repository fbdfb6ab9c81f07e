package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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

// Limits of a listener's server. There is none for reading a body or writing an
// answer: a person may take a minute, and Vault streams for hours.
const (
	// net/http allows 4 KiB more than it is told; the sum is 1 MiB.
	maxHeaderBytes    = 1<<20 - 4<<10
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 5 * time.Minute
)

// newServer returns a server that serves h behind g. The caller owns it. It
// speaks HTTP/1 only: a browser does not speak HTTP/2 without TLS, and nor do
// Vault's clients.
func newServer(h http.Handler, g *Guard, log *slog.Logger) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:                      g.Wrap(h),
		ConnContext:                  g.ConnContext,
		DisableGeneralOptionsHandler: true, // OPTIONS * is Vault's to answer
		MaxHeaderBytes:               maxHeaderBytes,
		ReadHeaderTimeout:            readHeaderTimeout,
		IdleTimeout:                  idleTimeout,
		// What clients do wrong. Errors of accepting are not among it: see screen.
		ErrorLog:  slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		Protocols: &protocols,
	}
}

// Listen opens a listener: network is "tcp" with a loopback address, or "unix"
// with an absolute path. What would let others in is an error wrapping
// ErrUnsafe. The caller closes the listener; closing removes the socket file.
func Listen(ctx context.Context, network, address string) (net.Listener, error) {
	switch network {
	case "tcp":
		return listenTCP(ctx, address)
	case "unix":
		return listenUnix(ctx, filepath.Clean(address))
	}
	return nil, fmt.Errorf(wordsNetwork, network)
}

func listenTCP(ctx context.Context, address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listener: %w", err)
	}
	// Not looked up: what a name server or a hosts file says about localhost
	// must not decide which interface we open.
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
	// A client with several paths is not what the kernel's tables are asked for.
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(ip.Unmap().String(), port))
	if err != nil {
		return nil, fmt.Errorf("listener: %w", err)
	}
	return ln, nil
}

// listenUnix opens a socket that only this user can connect to. The file has its
// mode from the start where the system can do so (see privateSocket); elsewhere
// there is a moment between bind and chmod in which the folder and the check of
// the peer's user protect it.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if err := socketFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	lc := net.ListenConfig{Control: privateSocket}
	opened, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listener: %w", err)
	}
	ln := &unixListener{UnixListener: opened.(*net.UnixListener), path: path}
	ln.SetUnlinkOnClose(false)
	if err = os.Chmod(path, 0o600); err == nil {
		ln.file, err = os.Lstat(path)
	}
	if err != nil {
		_ = os.Remove(path)
		_ = ln.UnixListener.Close()
		return nil, fmt.Errorf("listener: %w", err)
	}
	return ln, nil
}

// A unixListener removes its file when it is closed, but not that of another
// agent which has taken the path in the meantime.
type unixListener struct {
	*net.UnixListener
	path string
	file fs.FileInfo
	once sync.Once
}

// Close implements net.Listener.
func (l *unixListener) Close() error {
	l.once.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.file) {
			_ = os.Remove(l.path)
		}
	})
	return l.UnixListener.Close()
}

// removeStale removes the socket file that an agent has left behind which could
// not do so. It removes nothing else: a configuration may name any file.
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
		return fmt.Errorf("listener: "+wordsInUse, path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listener: %w", err)
	}
	return nil
}

// LockRuntimeDir makes dir a folder for this user alone (it is created if it is
// missing, and its mode set to 0700) and takes it for this process. One agent
// runs in a runtime folder: if there is one, the error wraps ErrRunning and
// names its process. The lock ends with release, which may be called more than
// once, or with the process.
func LockRuntimeDir(dir string) (release func(), err error) {
	if err := privateFolder(dir); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "agent.lock")
	f, err := openLock(name)
	if err != nil {
		return nil, fmt.Errorf("runtime folder: %w", err)
	}
	if err := lockFile(f); err != nil {
		defer f.Close()
		if errors.Is(err, ErrRunning) {
			return nil, fmt.Errorf("%w%s in %s", ErrRunning, lockedBy(f), dir)
		}
		return nil, fmt.Errorf("runtime folder: %w", err)
	}
	// The file stays when the lock ends: removing it would let two agents lock
	// two files of the same name.
	release = sync.OnceFunc(func() {
		_ = f.Truncate(0)
		unlockFile(f)
		_ = f.Close()
	})
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		release()
		return nil, fmt.Errorf("runtime folder: %w", err)
	}
	return release, nil
}

// lockedBy reads who has the lock, in words; "" while it is being written.
func lockedBy(f *os.File) string {
	b := make([]byte, 20)
	n, _ := f.ReadAt(b, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (process %d)", pid)
}

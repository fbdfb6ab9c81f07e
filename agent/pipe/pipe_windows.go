package pipe

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"
)

// ErrAbsent: no process has made the pipe.
var ErrAbsent = errors.New("there is no such pipe")

// Name returns the name of the pipe in the place of the socket at path: all pipes of a
// machine are in one folder, so that the user and the path are in the name.
func Name(path string) (string, error) {
	sid, err := userSID()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(strings.ToLower(filepath.Clean(path))))
	return fmt.Sprintf(`\\.\pipe\stepup-%s-%x`, sid, sum[:8]), nil
}

// Listen makes the pipe in the place of the socket at path. It fails where there is such a
// pipe. The caller closes the listener.
func Listen(path string) (net.Listener, error) {
	name, err := Name(path)
	if err != nil {
		return nil, err
	}
	sid, err := userSID()
	if err != nil {
		return nil, err
	}
	// Without a list of our own, every user may read what goes through the pipe. P: nothing
	// is inherited. The owner is named, because that of an elevated process would be the
	// administrators. A program that adds an end of its own to our pipe needs the right to
	// do so, and has it only as this user. go-winio makes no pipe that exists (another user
	// may have been first, to be sent our answers), and none that other machines can open.
	ln, err := winio.ListenPipe(name, &winio.PipeConfig{SecurityDescriptor: fmt.Sprintf("O:%[1]sD:P(A;;GA;;;%[1]s)", sid)})
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) || errors.Is(err, windows.ERROR_ALREADY_EXISTS) || errors.Is(err, windows.ERROR_PIPE_BUSY) {
		return nil, fmt.Errorf("another program has made the pipe %s: end it, or choose another folder with STEPUP_RUNTIME_DIR: %w", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("named pipe: %w", err)
	}
	return &listener{ln, &net.UnixAddr{Name: name, Net: "pipe"}, occupy(name)}, nil
}

// occupy takes the end of the pipe that go-winio holds the name with and never answers on.
// Windows gives it to no client, and says that the pipe is busy. Wine gives it to the first,
// which would wait for ever.
func occupy(name string) (release func()) {
	path, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return func() {}
	}
	h, err := windows.CreateFile(path, windows.GENERIC_READ, 0, nil, windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		return func() {}
	}
	return sync.OnceFunc(func() { _ = windows.CloseHandle(h) })
}

// Dial connects to the pipe in the place of the socket at path. It sends nothing. The error
// wraps [ErrAbsent] where there is no pipe.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	name, err := Name(path)
	if err != nil {
		return nil, err
	}
	// go-winio lets the other side learn nothing of this process and not act in its name.
	c, err := winio.DialPipeContext(ctx, name)
	if errors.Is(err, windows.ERROR_FILE_NOT_FOUND) {
		return nil, fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	if err != nil {
		return nil, err
	}
	// Any user can make a pipe of this name while no agent runs, and would be handed a
	// fresh passcode by `stepup answer`. The owner of a pipe is its maker: only a user that may
	// restore backups can name another.
	if err := checkOwner(c); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("not connecting to %s, another program could collect your codes: %w", name, err)
	}
	return c, nil
}

// checkOwner returns nil if the pipe of c belongs to the user of this process.
func checkOwner(c net.Conn) error {
	file, ok := c.(interface{ Fd() uintptr })
	if !ok {
		return fmt.Errorf("connection of type %T", c)
	}
	sd, err := windows.GetSecurityInfo(windows.Handle(file.Fd()), windows.SE_KERNEL_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return fmt.Errorf("its owner is unknown: %w", err)
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return fmt.Errorf("its owner is unknown: %w", err)
	}
	ours, err := userSID()
	if err != nil {
		return err
	}
	if owner == nil || !owner.Equals(ours) {
		return fmt.Errorf("it belongs to another user (%v)", owner)
	}
	return nil
}

// userSID is the user of this process.
func userSID() (*windows.SID, error) {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, fmt.Errorf("the user of this process is unknown: %w", err)
	}
	return user.User.Sid, nil
}

// A listener gives its connections the address of a socket.
type listener struct {
	net.Listener
	at      *net.UnixAddr
	release func() // ends what occupy took, once
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.at }

// Close implements net.Listener.
func (l *listener) Close() error {
	defer l.release()
	return l.Listener.Close()
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{c, l.at}, nil
}

type conn struct {
	net.Conn
	at *net.UnixAddr
}

func (c *conn) LocalAddr() net.Addr  { return c.at }
func (c *conn) RemoteAddr() net.Addr { return c.at }

// Fd is the handle of the pipe, for those who ask Windows about the other end; 0 for none.
func (c *conn) Fd() uintptr {
	if file, ok := c.Conn.(interface{ Fd() uintptr }); ok {
		return file.Fd()
	}
	return 0
}

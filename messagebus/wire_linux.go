package messagebus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"sync"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

const (
	// maxMessage bounds a message. The specification allows 128 MiB, which every
	// user could send us over the system bus.
	maxMessage = 1 << 20
	// headLength is of the part of a message that tells how long it is.
	headLength = 16
)

// endless finds the signature of an array whose elements take no bytes: the library
// never comes to the end of one that claims to be longer. No bus passes one on.
var endless = regexp.MustCompile(`a\(+\)`)

// A wire stands between the socket and godbus, whose reader ends the process when a
// message is not what it expects: its goroutine is the library's, so nothing else
// could stop that panic. A message that the library cannot read is left out, and so
// are files that nothing asked for.
type wire struct {
	socket *net.UnixConn
	files  bool // to be taken with answers
	begun  bool // the login is over, messages follow
	ready  []byte

	mu     sync.Mutex
	kept   []int // descriptors
	closed bool
}

// Write implements io.Writer. The last line of the login tells that messages follow.
func (w *wire) Write(p []byte) (int, error) {
	if !w.begun && bytes.Equal(p, []byte("BEGIN\r\n")) {
		if err := w.negotiate(); err != nil {
			return 0, err
		}
		w.begun = true
	}
	return w.socket.Write(p)
}

// negotiate asks for file descriptors, which the library knows nothing of.
func (w *wire) negotiate() error {
	if !w.files {
		return nil
	}
	if _, err := w.socket.Write([]byte("NEGOTIATE_UNIX_FD\r\n")); err != nil {
		return err
	}
	answer := make([]byte, len("AGREE_UNIX_FD\r\n"))
	if _, err := io.ReadFull(w.socket, answer); err != nil {
		return err
	}
	if string(answer) != "AGREE_UNIX_FD\r\n" {
		return errors.New("the bus passes no files on")
	}
	return nil
}

// Read implements io.Reader with whole messages that the library can read.
func (w *wire) Read(p []byte) (int, error) {
	if !w.begun {
		return w.socket.Read(p)
	}
	for len(w.ready) == 0 {
		m, files, err := w.next()
		if err != nil {
			return 0, err
		}
		message, err := decode(m)
		if err == nil && message.Type == dbus.TypeMethodReply {
			w.keep(files)
		} else {
			drop(files)
		}
		if err == nil {
			w.ready = m
		}
	}
	n := copy(p, w.ready)
	w.ready = w.ready[n:]
	return n, nil
}

// next reads a message with the files that came with it; the message is empty if it
// was too long.
func (w *wire) next() (message []byte, files []int, err error) {
	head := make([]byte, headLength)
	files, err = w.fill(head, nil)
	if err != nil {
		return nil, nil, err
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch head[0] {
	case 'l':
	case 'B':
		order = binary.BigEndian
	default:
		drop(files)
		return nil, nil, errors.New("what came is no message of D-Bus")
	}
	fields := (int64(order.Uint32(head[12:])) + 7) &^ 7
	length := fields + int64(order.Uint32(head[4:]))
	if length > maxMessage {
		drop(files)
		_, err := io.CopyN(io.Discard, w.socket, length)
		return nil, nil, err
	}
	message = append(head, make([]byte, length)...)
	files, err = w.fill(message[headLength:], files)
	return message, files, err
}

// fill reads until p is full and appends the descriptors that came along. With an
// error, none are left.
func (w *wire) fill(p []byte, files []int) ([]int, error) {
	if !w.files { // the kernel closes what a plain read leaves out
		_, err := io.ReadFull(w.socket, p)
		return nil, err
	}
	oob := make([]byte, unix.CmsgSpace(4*253)) // as many as the kernel sends at once
	for len(p) > 0 {
		n, oobn, _, _, err := w.socket.ReadMsgUnix(p, oob)
		files = append(files, descriptors(oob[:oobn])...)
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			drop(files)
			return nil, err
		}
		p = p[n:]
	}
	return files, nil
}

func descriptors(oob []byte) []int {
	var all []int
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		if fds, err := unix.ParseUnixRights(&m); err == nil {
			all = append(all, fds...)
		}
	}
	return all
}

func drop(files []int) {
	for _, fd := range files {
		_ = unix.Close(fd)
	}
}

func (w *wire) keep(files []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		drop(files)
		return
	}
	w.kept = append(w.kept, files...)
}

func (w *wire) take() (int, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.kept) == 0 {
		return 0, false
	}
	fd := w.kept[0]
	w.kept = slices.Delete(w.kept, 0, 1)
	return fd, true
}

// Close implements io.Closer.
func (w *wire) Close() error {
	w.mu.Lock()
	drop(w.kept)
	w.kept, w.closed = nil, true
	w.mu.Unlock()
	return w.socket.Close()
}

// decode reads a message as the library will, and returns an error where the library
// would panic, go on for ever or give up the connection.
func decode(message []byte) (m *dbus.Message, err error) {
	if endless.Match(message) {
		return nil, errors.New("an array of nothing")
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("no message: %v", p)
		}
	}()
	rest := bytes.NewReader(message)
	if m, err = dbus.DecodeMessage(rest); err != nil {
		return nil, err
	}
	if rest.Len() > 0 {
		return nil, errors.New("bytes after the end") // the next message would begin with them
	}
	return m, checkOwnName(m)
}

// checkOwnName refuses the two signals about our own name that carry none: the
// library panics on them.
func checkOwnName(m *dbus.Message) error {
	if m.Type != dbus.TypeSignal {
		return nil
	}
	switch member, _ := m.Headers[dbus.FieldMember].Value().(string); member {
	case "NameLost", "NameAcquired":
		if len(m.Body) == 0 {
			return errors.New("no name")
		}
		if _, ok := m.Body[0].(string); !ok {
			return errors.New("no name")
		}
	}
	return nil
}

// checkServer refuses a socket on which another user listens.
func checkServer(socket *net.UnixConn) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var server *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		server, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	if uid := int(server.Uid); uid != 0 && uid != os.Geteuid() {
		return fmt.Errorf("the session bus belongs to user %d", uid)
	}
	return nil
}

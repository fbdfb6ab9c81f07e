// Package messagebustest has buses for tests: a real one, and one that says what no bus
// says.
package messagebustest

import (
	"bufio"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
)

// Owner is the unique name of the one program on the bus, which owns every name.
const Owner = ":1.2"

// An Answer is what a method answers.
type Answer struct {
	Body  []any
	Error string       // the name of an error, instead
	Then  *dbus.Signal // follows the answer
}

// Answers are functions of the arguments, by the methods' names without interface.
type Answers map[string]func(args []any) Answer

// Serve starts a bus and returns its address. Before each answer it sends everything
// that [Malformed] lists.
func Serve(t *testing.T, answers Answers) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bus") // a socket's path has 108 bytes at most
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "bus"))
	must(t, err)
	var serving sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			serving.Go(func() { answers.serve(c) })
		}
	})
	return "unix:path=" + filepath.Join(dir, "bus")
}

func (a Answers) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	if !admit(c, in) {
		return
	}
	for {
		m, err := dbus.DecodeMessage(in)
		if err != nil {
			return
		}
		member, _ := m.Headers[dbus.FieldMember].Value().(string)
		answer := standard(member)
		if of := a[member]; of != nil {
			answer = of(m.Body)
		}
		for _, bad := range Malformed() {
			if _, err := c.Write(bad); err != nil {
				return
			}
		}
		if answer.reply(m).EncodeTo(c, binary.LittleEndian) != nil {
			return
		}
		if answer.Then != nil && signal(answer.Then).EncodeTo(c, binary.LittleEndian) != nil {
			return
		}
	}
}

// standard is how the bus itself answers.
func standard(member string) Answer {
	switch member {
	case "Hello":
		return Answer{Body: []any{":1.1"}}
	case "GetNameOwner":
		return Answer{Body: []any{Owner}}
	case "NameHasOwner":
		return Answer{Body: []any{true}}
	case "AddMatch":
		return Answer{}
	}
	return Answer{Error: "org.freedesktop.DBus.Error.UnknownMethod"}
}

// admit lets a client in. It passes no files on.
func admit(c net.Conn, in *bufio.Reader) bool {
	for {
		line, err := in.ReadString('\n')
		answer := "REJECTED EXTERNAL\r\n"
		switch {
		case err != nil:
			return false
		case strings.HasPrefix(line, "BEGIN"):
			return true
		case strings.HasPrefix(line, "NEGOTIATE_UNIX_FD"):
			answer = "AGREE_UNIX_FD\r\n"
		case strings.HasPrefix(line, "AUTH EXTERNAL"):
			answer = "OK 0123456789abcdef0123456789abcdef\r\n"
		}
		if _, err := c.Write([]byte(answer)); err != nil {
			return false
		}
	}
}

func (a Answer) reply(to *dbus.Message) *dbus.Message {
	m := &dbus.Message{Type: dbus.TypeMethodReply, Body: a.Body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(to.Serial()), dbus.FieldSender: dbus.MakeVariant(Owner),
	}}
	if a.Error != "" {
		m.Type = dbus.TypeError
		m.Headers[dbus.FieldErrorName] = dbus.MakeVariant(a.Error)
	}
	return sign(m)
}

func signal(s *dbus.Signal) *dbus.Message {
	dot := strings.LastIndexByte(s.Name, '.')
	sender := s.Sender
	if sender == "" {
		sender = Owner
	}
	return sign(&dbus.Message{Type: dbus.TypeSignal, Body: s.Body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldSender: dbus.MakeVariant(sender), dbus.FieldPath: dbus.MakeVariant(s.Path),
		dbus.FieldInterface: dbus.MakeVariant(s.Name[:dot]), dbus.FieldMember: dbus.MakeVariant(s.Name[dot+1:]),
	}})
}

func sign(m *dbus.Message) *dbus.Message {
	if len(m.Body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(m.Body...))
	}
	return m
}

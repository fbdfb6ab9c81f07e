package messagebus_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/vault-stepup/stepup/messagebus"
	"github.com/vault-stepup/stepup/messagebus/messagebustest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What a bus should never say is passed over, and the answers behind it are heard.
func TestMalformedMessages(t *testing.T) {
	t.Parallel()
	news := &dbus.Signal{Path: "/x", Name: "com.example.Good", Body: []any{"yes"}}
	for _, files := range []bool{false, true} {
		t.Run(fmt.Sprint(files), func(t *testing.T) {
			t.Parallel()
			address := messagebustest.Serve(t, messagebustest.Answers{
				"Ask": func([]any) messagebustest.Answer {
					return messagebustest.Answer{Body: []any{"answer"}, Then: news}
				},
			})
			b, err := messagebus.Open(t.Context(), messagebus.Config{Address: address, Trust: messagebus.Foreign, Files: files})
			must(t, err)
			defer b.Close()
			must(t, b.Follow(t.Context(), "com.example"))
			for range 3 {
				var answer string
				must(t, messagebus.Result(b.Call(t.Context(), messagebus.Object{Of: "com.example", Path: "/"}, "com.example.Ask"), &answer))
				if answer != "answer" {
					t.Errorf("answer %q", answer)
				}
			}
			for heard := 0; heard < 3; {
				if s := <-b.Signals(); b.Owners.From("com.example", s) && s.Name == news.Name {
					heard++
				}
			}
		})
	}
}

// An answer with values of other types than were asked for is an error.
func TestStore(t *testing.T) {
	t.Parallel()
	var text string
	var texts []string
	for name, err := range map[string]error{
		"a number for a text":  messagebus.Store([]any{uint64(1 << 40)}, &texts),
		"too few":              messagebus.Store(nil, &text),
		"nothing inside":       messagebus.Store([]any{nil}, &text),
		"nothing in a variant": messagebus.Store([]any{dbus.Variant{}}, &text),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(all)
}

// Every user of the system bus can send files to a connection that takes some: they
// neither end this process, as they do godbus's own reader, nor stay open. Not
// parallel: it counts what the process has open.
func TestFilesFromStrangers(t *testing.T) {
	bus := messagebustest.NewDaemon(t)
	stranger := bus.Connect(t)
	file, err := os.Open("/dev/null")
	must(t, err)
	defer file.Close()
	for _, files := range []bool{false, true} {
		b, err := messagebus.Open(t.Context(), messagebus.Config{Address: bus.Address, Files: files})
		must(t, err)
		before := descriptors(t)
		for _, body := range [][]any{{dbus.UnixFD(file.Fd())}, {[]dbus.UnixFD{dbus.UnixFD(file.Fd()), dbus.UnixFD(file.Fd())}}} {
			m := &dbus.Message{Type: dbus.TypeSignal, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
				dbus.FieldDestination: dbus.MakeVariant(b.Name()), dbus.FieldPath: dbus.MakeVariant(dbus.ObjectPath("/")),
				dbus.FieldInterface: dbus.MakeVariant("com.example.X"), dbus.FieldMember: dbus.MakeVariant("Y"),
				dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(body...)),
			}}
			must(t, stranger.Send(m, nil).Err)
		}
		must(t, stranger.BusObject().Call(messagebus.Daemon+".GetId", 0).Err) // the bus has passed both on
		for range 2 {
			must(t, b.Follow(t.Context(), "com.example.X"))
		}
		if files { // a bus passes a file on only to those who agreed to take some
			for range 2 {
				<-b.Signals()
			}
		}
		if after := descriptors(t); after != before {
			t.Errorf("%d descriptors, before %d", after, before)
		}
		if _, err := b.TakeFile("x"); err == nil {
			t.Error("a stranger's file was kept")
		}
		b.Close()
	}
}

// fileGiver answers with a file.
type fileGiver struct{ fd uintptr }

// Give is called over the bus.
func (g fileGiver) Give() (dbus.UnixFD, *dbus.Error) { return dbus.UnixFD(g.fd), nil }

func TestTakeFile(t *testing.T) {
	t.Parallel()
	bus := messagebustest.NewDaemon(t)
	service := bus.Connect(t)
	read, write, err := os.Pipe()
	must(t, err)
	defer read.Close()
	must(t, service.Export(fileGiver{write.Fd()}, "/", "com.example.Giver"))
	b, err := messagebus.Open(t.Context(), messagebus.Config{Address: bus.Address, Files: true})
	must(t, err)
	giver := messagebus.Object{Of: service.Names()[0], Path: "/"}
	must(t, b.Call(t.Context(), giver, "com.example.Giver.Give").Err)
	file, err := b.TakeFile("given")
	must(t, err)
	must(t, b.Call(t.Context(), giver, "com.example.Giver.Give").Err) // not taken: closed with the connection
	b.Close()
	must(t, write.Close())
	_, err = file.WriteString("x")
	must(t, err)
	must(t, file.Close())
	all, err := io.ReadAll(read) // until the last copy is closed
	if string(all) != "x" || err != nil {
		t.Errorf("read %q, error %v", all, err)
	}
}

func TestNoBus(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "tcp:host=127.0.0.1,port=1", "unix:path=/nonexistent/bus"} {
		if _, err := messagebus.Open(t.Context(), messagebus.Config{Address: address}); !errors.Is(err, messagebus.ErrNoBus) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// A name that a session left behind is free for every user, who could answer in the
// person's place.
func TestServerOfAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	address := "@" + rand.Text()
	listening := make(chan net.Listener)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends as the other user
		_, _, _ = syscall.RawSyscall(syscall.SYS_SETRESUID, 4321, 4321, 4321)
		l, err := net.Listen("unix", address)
		if err != nil {
			close(listening)
			return
		}
		listening <- l
	}()
	l := <-listening
	if l == nil {
		t.Fatal("cannot listen")
	}
	defer l.Close()
	c := messagebus.Config{Address: "unix:abstract=" + address[1:], Trust: messagebus.Foreign}
	if _, err := messagebus.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "belongs to user 4321") {
		t.Errorf("error %v", err)
	}
}

// What listens there says nothing: opening ends with the context.
func TestSilence(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "bus"))
	must(t, err)
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Read(make([]byte, 1))
		cancel()
		_, _ = c.Read(make([]byte, 100))
	}()
	if _, err := messagebus.Open(ctx, messagebus.Config{Address: "unix:path=" + l.Addr().String(), Limit: 1 << 40}); err == nil {
		t.Error("opened")
	}
}

package peer

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A connNoSyscall hides the socket of a connection.
type connNoSyscall struct{ net.Conn }

func TestIdentifyOwnProcess(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp4", "tcp6", "tcp", "unix"} { // tcp: a dual stack listener
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			_, server := newFixture(t, network).dial()
			c := Identify(server)
			if err := c.SameUser(); err != nil {
				t.Fatalf("SameUser() = %v, want nil", err)
			}
			if !c.Self() {
				t.Error("Self() = false for a connection of this process")
			}
			p := c.Describe()
			exe, _ := os.Executable()
			if p.PID != os.Getpid() || filepath.Base(p.Exe) != filepath.Base(exe) {
				t.Errorf("Describe() = %+v, want this process, %s", p, exe)
			}
			if len(p.Chain) < 2 || p.Chain[0] != filepath.Base(exe) || len(p.Chain) > chainLimit {
				t.Errorf("Chain = %q, want this executable and its parents", p.Chain)
			}
		})
	}
}

func TestIdentifyOtherProcess(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp4", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			pid, c := newFixture(t, network).dialFrom(nil)
			if err := c.SameUser(); err != nil {
				t.Fatalf("SameUser() = %v, want nil", err)
			}
			if c.Self() {
				t.Error("Self() = true for another process")
			}
			p := c.Describe()
			if p.PID != pid {
				t.Errorf("PID = %d, want %d", p.PID, pid)
			}
			if me := filepath.Base(p.Exe); len(p.Chain) < 2 || p.Chain[0] != me || p.Chain[1] != me {
				t.Errorf("Chain = %q, want the client, then this process", p.Chain)
			}
		})
	}
}

func TestIdentifyRefusesWhatItCannotAsk(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	f := newFixture(t, "tcp4")
	_, hidden := f.dial()
	_, closed := f.dial()
	_ = closed.Close()

	for _, tt := range []struct {
		name string
		conn net.Conn
		want error
	}{
		{"pipe", a, ErrUnsupported},
		{"hidden socket", connNoSyscall{a}, ErrUnsupported},
		{"hidden socket of TCP", connNoSyscall{hidden}, ErrUnsupported},
		{"closed by us", closed, ErrUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Identify(tt.conn)
			if err := c.SameUser(); !errors.Is(err, tt.want) {
				t.Errorf("SameUser() = %v, want %v", err, tt.want)
			}
			if p := c.Describe(); p.UID != -1 || p.PID != 0 || c.Self() {
				t.Errorf("Describe() = %+v, want an unknown peer", p)
			}
		})
	}
}

func TestCheckTCP(t *testing.T) {
	t.Parallel()
	must(t, CheckTCP())
}

func TestContext(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(Peer{UID: -1}, FromContext(t.Context())); diff != "" {
		t.Errorf("FromContext without a peer (-want +got):\n%s", diff)
	}
	want := Peer{PID: 7, UID: 8}
	if diff := cmp.Diff(want, FromContext(NewContext(t.Context(), func() Peer { return want }))); diff != "" {
		t.Errorf("FromContext (-want +got):\n%s", diff)
	}
}

package peer

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A connNoSyscall hides the socket of a connection.
type connNoSyscall struct{ net.Conn }

func TestIdentifyOwnProcess(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, network, listen, dial string }{
		{"tcp4", "tcp4", "127.0.0.1:0", "127.0.0.1"},
		{"tcp6", "tcp6", "[::1]:0", "::1"},
		{"dual stack listener", "tcp", "[::]:0", "127.0.0.1"},
		{"unix", "unix", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			address := tt.listen
			if tt.network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
			}
			ln := listen(t, tt.network, address)
			target := ln.Addr().String()
			if tcp, ok := ln.Addr().(*net.TCPAddr); ok {
				target = (&net.TCPAddr{IP: net.ParseIP(tt.dial), Port: tcp.Port}).String()
			}
			client, err := net.Dial(tt.network, target)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()

			c := Identify(accept(t, ln))
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
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
			}
			ln := listen(t, network, address)
			pid := startClient(t, ln.Addr(), nil)
			c := Identify(accept(t, ln))
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
	ln := listen(t, "tcp", "127.0.0.1:0")
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	closed := accept(t, ln)
	_ = closed.Close()

	for _, tt := range []struct {
		name string
		conn net.Conn
		want error
	}{
		{"pipe", a, ErrUnsupported},
		{"hidden socket", connNoSyscall{a}, ErrUnsupported},
		{"closed by us", closed, ErrUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Identify(tt.conn)
			if err := c.SameUser(); !errors.Is(err, tt.want) {
				t.Errorf("SameUser() = %v, want %v", err, tt.want)
			}
			if p := c.Describe(); p.UID != -1 || p.PID != 0 || c.Self() {
				t.Errorf("Describe() = %+v, want nobody", p)
			}
		})
	}
}

func TestCheckTCP(t *testing.T) {
	t.Parallel()
	if err := CheckTCP(); err != nil {
		t.Fatal(err)
	}
}

func TestContext(t *testing.T) {
	t.Parallel()
	if p := FromContext(context.Background()); p.UID != -1 || p.PID != 0 {
		t.Errorf("FromContext without a peer = %+v, want an unknown one", p)
	}
	ctx := NewContext(context.Background(), func() Peer { return Peer{PID: 7, UID: 8} })
	if p := FromContext(ctx); p.PID != 7 || p.UID != 8 {
		t.Errorf("FromContext = %+v", p)
	}
}

func TestChain(t *testing.T) {
	t.Parallel()
	table := map[int]process{
		1:  {pid: 1, start: 0, name: "init"},
		10: {pid: 10, parent: 1, start: 10, exe: "/usr/bin/gnome-terminal"},
		11: {pid: 11, parent: 10, start: 11, exe: "/bin/zsh", terminal: true},
		12: {pid: 12, parent: 11, start: 12, name: "make"},
		13: {pid: 13, parent: 12, start: 13, exe: "/opt/terraform"},
		20: {pid: 20, parent: 10, start: 5, exe: "/opt/orphan"},
		30: {pid: 30, parent: 31, start: 30, name: "ring"},
		31: {pid: 31, parent: 30, start: 30, name: "ring"},
		40: {pid: 40, parent: 99, start: 40, name: "lost"},
	}
	read := func(pid int) (process, error) {
		p, ok := table[pid]
		if !ok {
			return p, os.ErrNotExist
		}
		return p, nil
	}
	for _, tt := range []struct {
		name string
		pid  int
		want []string
	}{
		{"up to the owner of the terminal", 13, []string{"terraform", "make", "zsh", "gnome-terminal"}},
		{"a parent younger than its child is a stranger", 20, []string{"orphan"}},
		{"a parent that is gone", 40, []string{"lost"}},
		{"the first process is not shown", 10, []string{"gnome-terminal"}},
		{"a ring is bounded", 30, slices.Repeat([]string{"ring"}, chainLimit)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := chain(table[tt.pid], read); !slices.Equal(got, tt.want) {
				t.Errorf("chain = %q, want %q", got, tt.want)
			}
		})
	}
}

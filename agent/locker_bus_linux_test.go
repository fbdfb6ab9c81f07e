package agent

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"testing"

	"github.com/godbus/dbus/v5"
)

// listenAt makes a socket that is no bus.
func listenAt(t *testing.T) (address string, ln net.Listener) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus")
	ln, err := net.Listen("unix", path)
	must(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return "unix:path=" + path, ln
}

// A bus that takes connections and says nothing keeps neither the end of the
// agent nor the next try from coming.
func TestBusThatSaysNothing(t *testing.T) {
	t.Parallel()
	address, ln := listenAt(t)
	accepted := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	r := rigLocker(&busProcess{address: address}, "sleep")
	r.start(t)
	first := receive(t, accepted, "a connection")
	r.line(t, r.trouble(wordsNoSystemBus))
	second := receive(t, accepted, "the next try")
	r.stop()
	for _, c := range []net.Conn{first, second} {
		for err := error(nil); err == nil; {
			_, err = c.Read(make([]byte, 100)) // until the locker's end is closed
		}
	}
}

// The connection that others can reach must not take file descriptors.
func TestNoDescriptorsFromStrangers(t *testing.T) {
	t.Parallel()
	p := startBus(t)
	b, err := openBus(t.Context(), p.address, login1)
	must(t, err)
	defer b.close()
	if b.conn.SupportsUnixFDs() {
		t.Error("anybody may fill the agent's table of descriptors")
	}
}

func TestBusAddresses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name            string
		env             map[string]string
		system, session string
	}{
		{"nothing set", nil, "unix:path=/run/dbus/system_bus_socket", "unix:path=/run/user/7/bus"},
		{
			"a runtime folder", map[string]string{"XDG_RUNTIME_DIR": "/tmp/a b", "DBUS_SESSION_BUS_ADDRESS": "autolaunch:"},
			"unix:path=/run/dbus/system_bus_socket", "unix:path=/tmp/a%20b/bus",
		},
		{
			"set", map[string]string{"XDG_RUNTIME_DIR": "/tmp", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/a", "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/b"},
			"unix:path=/b", "unix:path=/a",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			system, session := busAddresses(func(name string) string { return tt.env[name] }, 7)
			if system != tt.system || session != tt.session {
				t.Errorf("got %q and %q, want %q and %q", system, session, tt.system, tt.session)
			}
		})
	}
}

func TestBusSockets(t *testing.T) {
	t.Parallel()
	tests := []struct {
		address string
		want    []string
	}{
		{"unix:path=/run/user/7/bus", []string{"/run/user/7/bus"}},
		{"unix:path=/run/bus,guid=123", []string{"/run/bus"}},
		{"unix:guid=123,abstract=/tmp/x", []string{"@/tmp/x"}},
		{"unix:path=/a%20b;tcp:host=127.0.0.1,port=1;unix:abstract=c", []string{"/a b", "@c"}},
		{"unix:path=", nil},
		{"unix:path=%zz", nil},
		{"unix:path=@x", nil},
		{"unixexec:path=/bin/sh", nil},
		{"tcp:host=example.com,port=1", nil},
		{"", nil},
	}
	for _, tt := range tests {
		t.Run(tt.address, func(t *testing.T) {
			t.Parallel()
			if got := busSockets(tt.address); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if _, err := dialBus(context.Background(), "tcp:host=127.0.0.1,port=1"); err == nil {
		t.Error("connected to nothing")
	}
}

// Every absolute path comes back from the address that was made of it, whatever
// stands before it.
func FuzzBusSockets(f *testing.F) {
	f.Add("run/user/1000/bus", "tcp:host=x")
	f.Add("a b;c,d=e%", "unix:abstract=x;;unix:,,=")
	f.Fuzz(func(t *testing.T, path, before string) {
		path = "/" + path
		got := busSockets(before + ";unix:path=" + dbus.EscapeBusAddressValue(path))
		if len(got) == 0 || got[len(got)-1] != path {
			t.Errorf("%q became %q", path, got)
		}
		if slices.ContainsFunc(got, func(s string) bool { return s == "" || s[0] != '/' && len(s) < 2 }) {
			t.Errorf("a socket without name in %q", got)
		}
	})
}

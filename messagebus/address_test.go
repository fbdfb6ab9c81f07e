package messagebus_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/vault-stepup/stepup/messagebus"
)

func TestAddresses(t *testing.T) {
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
			getenv := func(name string) string { return tt.env[name] }
			system, session := messagebus.SystemAddress(getenv), messagebus.SessionAddress(getenv, 7)
			if system != tt.system || session != tt.session {
				t.Errorf("got %q and %q, want %q and %q", system, session, tt.system, tt.session)
			}
		})
	}
}

func TestSockets(t *testing.T) {
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
		{"unix:path=/a%00b", nil},
		{"unixexec:path=/bin/sh", nil},
		{"tcp:host=example.com,port=1", nil},
		{"", nil},
	}
	for _, tt := range tests {
		t.Run(tt.address, func(t *testing.T) {
			t.Parallel()
			if got := messagebus.Sockets(tt.address); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Every absolute path comes back from the address that was made of it, whatever
// stands before it.
func FuzzSockets(f *testing.F) {
	f.Add("run/user/1000/bus", "tcp:host=x")
	f.Add("a b;c,d=e%", "unix:abstract=x;;unix:,,=")
	f.Fuzz(func(t *testing.T, path, before string) {
		path = "/" + strings.ReplaceAll(path, "\x00", "")
		got := messagebus.Sockets(before + ";unix:path=" + dbus.EscapeBusAddressValue(path))
		if len(got) == 0 || got[len(got)-1] != path {
			t.Errorf("%q became %q", path, got)
		}
		if slices.ContainsFunc(got, func(s string) bool { return s == "" || s[0] != '/' && len(s) < 2 }) {
			t.Errorf("a socket without name in %q", got)
		}
	})
}

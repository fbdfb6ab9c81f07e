// Package messagebus is a client of D-Bus message buses: private connections whose
// other end is trusted with nothing.
package messagebus

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
)

// SystemAddress returns where the system bus is expected.
func SystemAddress(getenv func(string) string) string {
	if address := getenv("DBUS_SYSTEM_BUS_ADDRESS"); address != "" {
		return address
	}
	return "unix:path=/run/dbus/system_bus_socket"
}

// SessionAddress returns where the session bus of a user is expected. It never
// starts one: a bus of our own would know no other program.
func SessionAddress(getenv func(string) string, uid int) string {
	if address := getenv("DBUS_SESSION_BUS_ADDRESS"); address != "" && address != "autolaunch:" {
		return address
	}
	dir := getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = "/run/user/" + strconv.Itoa(uid)
	}
	return "unix:path=" + dbus.EscapeBusAddressValue(dir+"/bus")
}

// Sockets lists the unix sockets of a D-Bus address (specification, "Server
// Addresses"), in order, as package net names them: an absolute path, or one with @
// for the abstract namespace. Other transports are left out. The address may be
// another process's word, which must not make us start a program (unixexec:) or call
// a host (tcp:).
func Sockets(address string) []string {
	var sockets []string
	for one := range strings.SplitSeq(address, ";") {
		pairs, ok := strings.CutPrefix(one, "unix:")
		if !ok {
			continue
		}
		if socket := socketOf(pairs); socket != "" {
			sockets = append(sockets, socket)
		}
	}
	return sockets
}

func socketOf(pairs string) string {
	for pair := range strings.SplitSeq(pairs, ",") {
		key, escaped, _ := strings.Cut(pair, "=")
		value, err := url.PathUnescape(escaped)
		switch {
		case err != nil || value == "" || strings.ContainsRune(value, 0):
		case key == "path" && value[0] == '/': // net would take @name for an abstract one
			return value
		case key == "abstract":
			return "@" + value
		}
	}
	return ""
}

package listener

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/ownership"
)

// An Endpoint is the address of a listener: network is "tcp" or "unix".
type Endpoint struct{ Network, Address string }

// An Activation is the set of sockets that a service manager listens on for us. It
// does so before we start and after we end, so that no other program can take their
// addresses. The sockets are kept until the agent stops, as a later configuration may
// name one that the first did not. The zero value has none. Not safe for concurrent
// use.
type Activation struct {
	sockets map[Endpoint]*os.File
}

// NewActivation takes files over, also when it fails.
func NewActivation(files []*os.File) (*Activation, error) {
	a := &Activation{sockets: make(map[Endpoint]*os.File)}
	for _, f := range files {
		key, err := socketEndpoint(f)
		if err == nil && a.sockets[key] != nil {
			err = fmt.Errorf("the service manager passed two sockets for %s; run `stepup service install` again", key.Address)
		}
		if err != nil {
			a.Close()
			closeAll(files)
			return nil, err
		}
		a.sockets[key] = f
	}
	return a, nil
}

// socketEndpoint returns the address that a socket listens on. An address that no
// listener block could name is an error: the unit was written for another program.
func socketEndpoint(f *os.File) (Endpoint, error) {
	if !listening(f) {
		return Endpoint{}, fmt.Errorf(wordsPassedKind, f.Name())
	}
	ln, err := net.FileListener(f) // of a copy: closing it leaves the socket as it is
	if err != nil {
		return Endpoint{}, fmt.Errorf(wordsPassedKind, f.Name())
	}
	defer ln.Close()
	switch addr := ln.Addr().(type) {
	case *net.TCPAddr:
		if !addr.IP.IsLoopback() {
			return Endpoint{}, fmt.Errorf("%w: "+wordsNotLoopback, ErrUnsafe, addr)
		}
		return Endpoint{"tcp", addr.String()}.canonical(), nil
	case *net.UnixAddr:
		if filepath.IsAbs(addr.Name) { // not so in the abstract namespace, where there are no file modes
			return Endpoint{"unix", addr.Name}.canonical(), nil
		}
	}
	return Endpoint{}, fmt.Errorf(wordsPassedKind, f.Name())
}

// canonical returns one spelling of an address.
func (e Endpoint) canonical() Endpoint {
	if e.Network == "unix" {
		return Endpoint{e.Network, filepath.Clean(e.Address)}
	}
	host, port, err := net.SplitHostPort(e.Address)
	if err != nil {
		return e
	}
	if strings.EqualFold(host, "localhost") {
		host = "127.0.0.1" // as listenTCP has it
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	return Endpoint{e.Network, net.JoinHostPort(host, port)}
}

// Adopt returns a listener on the socket that was passed for want, nil when there
// is none. Closing it leaves the socket open, and its file where it is: they
// belong to the service manager.
func (a *Activation) Adopt(want Endpoint) (net.Listener, error) {
	f := a.sockets[want.canonical()]
	if f == nil {
		return nil, nil
	}
	if want.Network == "unix" {
		if err := privatePassed(filepath.Clean(want.Address)); err != nil {
			return nil, err
		}
	}
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("listener: %w", err)
	}
	if unix, ok := ln.(*net.UnixListener); ok {
		return adoptUnix(unix, filepath.Clean(want.Address))
	}
	return ln, nil
}

// privatePassed makes sure that no other user can connect to a socket that was
// passed, or replace it: a socket unit makes it 0666 by default.
func privatePassed(path string) error {
	if err := socketFolder(filepath.Dir(path)); err != nil {
		return err
	}
	file, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listener: the service manager listens on %s, but the socket is not there any more; run `systemctl --user restart stepup.socket`", path)
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
	if file.Mode().Perm() == 0o600 {
		return nil
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return fmt.Errorf("listener: %w", err)
	}
	return nil
}

// Unclaimed returns the addresses of the sockets that are not in wanted, in order.
// The service manager keeps them open, so connections to them are never answered.
func (a *Activation) Unclaimed(wanted []Endpoint) []string {
	left := maps.Clone(a.sockets)
	for _, w := range wanted {
		delete(left, w.canonical())
	}
	var addresses []string
	for key := range left {
		addresses = append(addresses, key.Address)
	}
	slices.Sort(addresses)
	return addresses
}

// Close closes the agent's copies of the sockets.
func (a *Activation) Close() {
	for _, f := range a.sockets {
		_ = f.Close()
	}
	clear(a.sockets)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

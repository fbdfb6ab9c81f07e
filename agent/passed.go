package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/ownership"
)

// passed are the sockets that a service manager listens on for us, before we
// start and after we end: no address is ever free for somebody else to take. They
// are kept until the agent stops, as a later configuration may name one that the
// first did not. Not safe for concurrent use; Agent.mu guards it.
type passed struct {
	sockets map[listenerKey]*os.File
}

// newPassed takes files over, also when it fails.
func newPassed(files []*os.File) (*passed, error) {
	p := &passed{sockets: make(map[listenerKey]*os.File)}
	for _, f := range files {
		key, err := passedKey(f)
		if err == nil && p.sockets[key] != nil {
			err = fmt.Errorf(wordsPassedTwice, key.address)
		}
		if err != nil {
			p.close()
			closeAll(files)
			return nil, err
		}
		p.sockets[key] = f
	}
	return p, nil
}

// passedKey is the address that a socket listens on. What no listener block could
// ask for is an error: the unit has been written for another program.
func passedKey(f *os.File) (listenerKey, error) {
	if !listening(f) {
		return listenerKey{}, fmt.Errorf(wordsPassedKind, f.Name())
	}
	ln, err := net.FileListener(f) // of a copy: closing it leaves the socket as it is
	if err != nil {
		return listenerKey{}, fmt.Errorf(wordsPassedKind, f.Name())
	}
	defer ln.Close()
	switch addr := ln.Addr().(type) {
	case *net.TCPAddr:
		if !addr.IP.IsLoopback() {
			return listenerKey{}, fmt.Errorf("%w: "+wordsNotLoopback, ErrUnsafe, addr)
		}
		return keyOf("tcp", addr.String()), nil
	case *net.UnixAddr:
		if filepath.IsAbs(addr.Name) { // not so in the abstract namespace, where there are no file modes
			return keyOf("unix", addr.Name), nil
		}
	}
	return listenerKey{}, fmt.Errorf(wordsPassedKind, f.Name())
}

// keyOf writes an address in one way.
func keyOf(network, address string) listenerKey {
	if network == "unix" {
		return listenerKey{network, filepath.Clean(address)}
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return listenerKey{network, address}
	}
	if strings.EqualFold(host, "localhost") {
		host = "127.0.0.1" // as listenTCP has it
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	return listenerKey{network, net.JoinHostPort(host, port)}
}

// adopt returns a listener on the socket that was passed for want, nil when there
// is none. Closing it leaves the socket open, and its file where it is: they
// belong to the service manager.
func (p *passed) adopt(want Listener) (net.Listener, error) {
	f := p.sockets[keyOf(want.Network, want.Address)]
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
	return ln, nil
}

// privatePassed makes sure that nobody else can connect to a socket that was
// passed, or put theirs in its place: a socket unit makes it 0666 if it does not
// say otherwise.
func privatePassed(path string) error {
	if err := socketFolder(filepath.Dir(path)); err != nil {
		return err
	}
	file, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listener: "+wordsPassedGone, path)
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

// unclaimed are the addresses of sockets that no listener of c names. The service
// manager keeps them open, so whoever connects there waits for ever.
func (p *passed) unclaimed(c Config) []string {
	left := maps.Clone(p.sockets)
	for _, l := range c.Listeners {
		delete(left, keyOf(l.Network, l.Address))
	}
	var addresses []string
	for key := range left {
		addresses = append(addresses, key.address)
	}
	slices.Sort(addresses)
	return addresses
}

// notes is what the status says about sockets that nobody serves.
func (p *passed) notes(c Config) []string {
	var all []string
	for _, address := range p.unclaimed(c) {
		all = append(all, fmt.Sprintf(noteUnclaimed, address))
	}
	return all
}

func (p *passed) warn(c Config, log *slog.Logger) {
	for _, address := range p.unclaimed(c) {
		log.Warn("no listener block names this socket of the service manager: connections to it are never answered", "address", address)
	}
}

func (p *passed) close() {
	for _, f := range p.sockets {
		_ = f.Close()
	}
	clear(p.sockets)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

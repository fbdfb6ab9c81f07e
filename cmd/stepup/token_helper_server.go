package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/config"
)

// defaultServer is what both CLIs talk to when no variable says otherwise.
const defaultServer = "https://127.0.0.1:8200"

// askAgent bounds what a token helper waits for the agent's status. The agent
// asks its Vaults first, for two seconds at most.
const askAgent = 4 * time.Second

// helperServer is the address under which the token of the CLI's server is kept:
// that of the Vault behind a listener of ours, else the server's own. Spelling
// does not matter.
func (a *app) helperServer(ctx context.Context, f flavour) (string, error) {
	variable, value := a.first(f.addresses)
	if variable == "" {
		value = defaultServer
	}
	address, err := parseServer(value)
	if err != nil {
		// The value is not shown: an address may carry a password.
		return "", fmt.Errorf(textHelperAddress, variable)
	}
	if !address.local() {
		return address.String(), nil
	}
	doors, err := a.doors(ctx)
	if err != nil {
		return "", err
	}
	for _, d := range doors {
		if !d.opensAt(address) {
			continue
		}
		if behind, err := parseServer(d.vault); err == nil {
			return behind.String(), nil
		}
	}
	return address.String(), nil
}

// A door is a listener of ours and the address of the Vault that it leads to.
type door struct{ network, address, vault string }

// doors are those of the running agent, else those of the configuration. That
// there is neither is no error: the CLI may not be meant to reach us at all.
func (a *app) doors(ctx context.Context) ([]door, error) {
	ctx, cancel := context.WithTimeout(ctx, askAgent)
	defer cancel()
	var all []door
	if s, err := a.client().Status(ctx); err == nil {
		vaults := make(map[string]string)
		for _, v := range s.Vaults {
			vaults[v.Name] = v.Address
		}
		for _, l := range s.Listeners {
			all = append(all, door{l.Network, l.Address, vaults[l.Vault]})
		}
		return all, nil
	}
	file := a.configFile()
	if _, err := os.Stat(file); file == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	c, err := a.load()
	if err != nil {
		return nil, err
	}
	for _, l := range c.Listeners {
		if v, ok := c.Vault(l.Vault); ok {
			all = append(all, door{l.Network, l.Address, v.Address.String()})
		}
	}
	return all, nil
}

// opensAt reports whether a client that is told s arrives at the listener.
func (d door) opensAt(s server) bool {
	if d.network == config.Unix || s.socket != "" {
		return d.network == config.Unix && s.socket != "" && followed(d.address) == followed(s.socket)
	}
	listens, err := netip.ParseAddrPort(d.address)
	if err != nil || s.scheme != "http" || s.port != fmt.Sprint(listens.Port()) {
		return false
	}
	ip, err := netip.ParseAddr(s.host)
	return err != nil || ip.Unmap() == listens.Addr() // a name: localhost, for either family
}

// followed gives a path by which two spellings of one socket can be compared.
func followed(path string) string {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, filepath.Base(path))
}

// A server is an address as a Vault client takes it, spelled in one way.
type server struct {
	socket             string // of unix://; nothing else is set then
	scheme, host, port string
	path               string
}

var errServer = errors.New("not the address of a Vault server")

// parseServer reads an address. User, query and fragment are not part of it.
func parseServer(address string) (server, error) {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil {
		return server{}, errServer // err may quote a password
	}
	scheme := strings.ToLower(u.Scheme)
	switch {
	case scheme == "unix" && strings.HasPrefix(u.Path, "/"):
		return server{socket: filepath.Clean(u.Path)}, nil
	case scheme != "http" && scheme != "https", u.Hostname() == "":
		return server{}, errServer
	}
	s := server{scheme: scheme, host: strings.ToLower(u.Hostname()), port: u.Port(), path: strings.TrimRight(u.EscapedPath(), "/")}
	s.host = strings.TrimSuffix(s.host, ".")
	if ip, err := netip.ParseAddr(s.host); err == nil {
		s.host = ip.Unmap().String()
	}
	if s.port == "" {
		s.port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	return s, nil
}

// local reports whether it can be an address of ours.
func (s server) local() bool {
	if s.socket != "" || s.host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(s.host)
	return err == nil && ip.IsLoopback()
}

func (s server) String() string {
	if s.socket != "" {
		return "unix://" + s.socket
	}
	return s.scheme + "://" + net.JoinHostPort(s.host, s.port) + s.path
}

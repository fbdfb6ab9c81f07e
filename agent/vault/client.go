// Package vault makes our own calls to Vault: answering a held login, minting a
// token, logging in, asking what a token may do, unwrapping, looking up and revoking
// a token, health. It also makes the transport that these calls and the relay share,
// so that both trust the same servers.
//
// The words, shapes and parsers are those of hashicorp/vault/api, but not its Client:
// api.NewClient always reads the VAULT_* environment, which in a shell that uses
// stepup points at stepup itself, and it fails as a whole on one malformed
// variable (a VAULT_CACERT that is gone is enough). Nothing here reads any of
// it, except the forward proxy of [NewTransport].
package vault

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Config is how to reach one Vault.
type Config struct {
	Name      string            // name of the vault block, for errors
	Address   *url.URL          // http, https or unix; a base path is kept
	Transport http.RoundTripper // from [NewTransport], shared with the relay
	Timeout   time.Duration     // limit of Validate, Mint, Login and Release; zero means 150 s
}

// A Client calls one Vault. It is safe for concurrent use, holds no token and
// repeats nothing: a repeated validate is a second push.
type Client struct {
	name    string
	base    *url.URL
	local   bool // a unix socket: there are no other nodes
	timeout time.Duration
	http    *http.Client
}

// New returns a client for the Vault at cfg.Address. It connects to nothing.
func New(cfg Config) (*Client, error) {
	if cfg.Transport == nil {
		return nil, errors.New("vault client needs a transport")
	}
	if err := checkAddress(cfg.Address); err != nil {
		return nil, fmt.Errorf("vault %q: %w", cfg.Name, err)
	}
	base, socket := Base(cfg.Address)
	timeout := cfg.Timeout
	if timeout == 0 {
		timeout = pushTimeout
	}
	return &Client{
		name:    cfg.Name,
		base:    base,
		local:   socket != "",
		timeout: timeout,
		http: &http.Client{
			Transport: cfg.Transport,
			// Redirects are followed by send, which checks the trust.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Connect returns a client of the Vault at address that goes by t, and its transport, whose idle
// connections the caller closes. It sends nothing.
func Connect(name string, address *url.URL, t TLS) (*Client, *Transport, error) {
	_, way := t.For(address)
	transport, err := NewTransport(way)
	if err != nil {
		return nil, nil, err
	}
	client, err := New(Config{Name: name, Address: address, Transport: transport})
	return client, transport, err
}

// Base splits the address of a Vault into the URL that requests are made for and
// the path of the unix socket that they go to, "" where there is none. The
// base of unix:///path is http://localhost, as in Vault's own clients.
func Base(address *url.URL) (base *url.URL, socket string) {
	if address.Scheme != "unix" {
		b := *address
		return &b, ""
	}
	return &url.URL{Scheme: "http", Host: "localhost"}, address.Path
}

// checkAddress refuses what could not be a Vault.
func checkAddress(u *url.URL) error {
	switch {
	case u == nil:
		return errors.New("address is missing")
	case u.Scheme == "unix":
		if u.Path == "" || u.Host != "" {
			return errors.New("address of a unix socket must look like unix:///path")
		}
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("address must start with http, https or unix, not %q", u.Scheme)
	case u.Host == "":
		return errors.New("address has no host")
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return errors.New("address must have no query and no fragment")
	}
	return nil
}

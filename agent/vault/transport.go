package vault

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

const localAuthority = "localhost:80" // what net/http dials for the base of a unix address

var errOtherNode = errors.New("a Vault on a unix socket has no other nodes")

// TLS says which servers to trust, by what certificate we are known to them, and how
// to reach them. The zero value trusts the system's authorities over TCP. The tags are the
// grammar of package config.
type TLS struct {
	CACert     string `hcl:"ca_cert,optional" form:"path"`     // PEM file of authorities
	CAPath     string `hcl:"ca_path,optional" form:"path"`     // folder of such files; both may be set, the system's authorities are then left out
	ClientCert string `hcl:"client_cert,optional" form:"path"` // PEM file of our certificate; read again when it changes
	ClientKey  string `hcl:"client_key,optional" form:"path"`
	ServerName string `hcl:"tls_server_name,optional"` // expected in the server's certificate; "" means the address's host
	SkipVerify bool   `hcl:"tls_skip_verify,optional"` // every server is taken for Vault

	// Plain leaves the system's authorities to crypto/x509, which reads them once: Vault is
	// behind plain HTTP or a socket.
	Plain bool
	// Socket is the path of a unix socket that every connection goes to; see [Base].
	Socket string
	// Dial opens connections; nil means a net.Dialer with 10 s.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// ResponseHeaderTimeout is how long Vault may think about one request; zero
	// means 150 s, as a push blocks for up to 90 s.
	ResponseHeaderTimeout time.Duration
	// IdleTimeout is how long an unused connection is kept; zero means [DefaultIdleTimeout].
	IdleTimeout time.Duration
}

// For returns what reaches the Vault at address: the base of requests, see [Base], and t
// with its Socket and Plain.
func (t TLS) For(address *url.URL) (base *url.URL, way TLS) {
	base, t.Socket = Base(address)
	t.Plain = base.Scheme == "http"
	return base, t
}

// The limits by which a dead connection is noticed. A laptop that slept or changed its
// network leaves connections that look alive.
const (
	pingAfter   = 4 * time.Second // without a byte from an HTTP/2 server
	pingTimeout = 4 * time.Second
	sendTimeout = pingAfter + pingTimeout // until sent bytes are acknowledged

	handshakeTimeout = 10 * time.Second
)

// DefaultIdleTimeout is how long an unused connection is kept: less than load balancers and
// firewalls keep theirs (from 50 s on), which may forget it without a word.
const DefaultIdleTimeout = 30 * time.Second

// build makes what requests go through until [Transport.Renew].
func (t *Transport) build() (*http.Transport, error) {
	conf, err := t.tls.config()
	if err != nil {
		return nil, err
	}
	secure := conf.Clone() // net/http changes its own
	proxy, err := forwardProxy()
	if err != nil {
		return nil, err
	}
	if t.tls.Socket != "" {
		proxy = nil
	}
	t.secure = secure
	return &http.Transport{
		Proxy:               proxy,
		DialContext:         t.watched,
		TLSClientConfig:     conf,
		TLSHandshakeTimeout: handshakeTimeout,
		ForceAttemptHTTP2:   true, // a TLSClientConfig of our own would switch it off
		DisableCompression:  true,
		// A thousand programs may wait for one answer of a person, and then all go on.
		MaxIdleConns:           2048,
		MaxIdleConnsPerHost:    1024,
		IdleConnTimeout:        cmp.Or(t.tls.IdleTimeout, DefaultIdleTimeout),
		ResponseHeaderTimeout:  cmp.Or(t.tls.ResponseHeaderTimeout, pushTimeout),
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 1 << 20,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: sendTimeout},
	}, nil
}

// socketDial sends every connection to the socket. A redirect to another host
// must not arrive there, nor leave over the network in the clear a token that
// was meant for the socket: it is refused.
func socketDial(dial dialFunc, socket string) dialFunc {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		if addr != localAuthority {
			return nil, errOtherNode
		}
		return dial(ctx, "unix", socket)
	}
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// forwardProxy reads the proxy between us and Vault. VAULT_PROXY_ADDR wins over
// VAULT_HTTP_PROXY as in Vault's own clients. OpenBao's have names of their own, too.
func forwardProxy() (func(*http.Request) (*url.URL, error), error) {
	for _, name := range []string{"VAULT_PROXY_ADDR", "BAO_PROXY_ADDR", "VAULT_HTTP_PROXY", "BAO_HTTP_PROXY"} {
		v := os.Getenv(name)
		if v == "" {
			continue
		}
		u, err := url.Parse(v)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("%s is not the URL of a proxy", name) // not the value: it may hold a password
		}
		return http.ProxyURL(u), nil
	}
	return http.ProxyFromEnvironment, nil
}

func (t TLS) config() (*tls.Config, error) {
	conf := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         t.ServerName,
		InsecureSkipVerify: t.SkipVerify, //nolint:gosec // the person asked for it by name in the configuration
	}
	if t.CACert != "" || t.CAPath != "" {
		pool, err := loadAuthorities(t.CACert, t.CAPath)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = pool
	} else if !t.Plain {
		conf.RootCAs = systemAuthorities()
	}
	switch {
	case t.ClientCert != "" && t.ClientKey != "":
		pair := &clientPair{certFile: t.ClientCert, keyFile: t.ClientKey}
		if _, err := pair.certificate(); err != nil {
			return nil, err
		}
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return pair.certificate()
		}
	case t.ClientCert != "":
		return nil, fmt.Errorf("client_cert %s has no client_key", t.ClientCert)
	case t.ClientKey != "":
		return nil, fmt.Errorf("client_key %s has no client_cert", t.ClientKey)
	}
	return conf, nil
}

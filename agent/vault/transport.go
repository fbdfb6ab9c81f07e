package vault

import (
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

	// Socket is the path of a unix socket that every connection goes to; see [Base].
	Socket string
	// Dial opens connections; nil means a net.Dialer with 10 s.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// ResponseHeaderTimeout is how long Vault may think about one request; zero
	// means 150 s, as a push blocks for up to 90 s.
	ResponseHeaderTimeout time.Duration
}

// NewTransport returns a transport to one Vault, for the relay and for a
// [Client]. It adds nothing to a request: no Accept-Encoding, no cookies. The
// forward proxy is VAULT_PROXY_ADDR, VAULT_HTTP_PROXY or what
// [http.ProxyFromEnvironment] says, in this order. Errors name the file and
// what is wrong with it.
func NewTransport(t TLS) (*http.Transport, error) {
	conf, err := t.config()
	if err != nil {
		return nil, err
	}
	proxy, err := forwardProxy()
	if err != nil {
		return nil, err
	}
	dial := t.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	if t.Socket != "" {
		dial, proxy = socketDial(dial, t.Socket), nil
	}
	wait := t.ResponseHeaderTimeout
	if wait == 0 {
		wait = pushTimeout
	}
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            dial,
		TLSClientConfig:        conf,
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true, // a TLSClientConfig of our own would switch it off
		DisableCompression:     true,
		MaxIdleConns:           128,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        90 * time.Second,
		ResponseHeaderTimeout:  wait,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 1 << 20,
		// A laptop that slept or changed its network leaves an HTTP/2 connection
		// that looks alive; without pings every request would hang on it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
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
// VAULT_HTTP_PROXY as in Vault's own clients.
func forwardProxy() (func(*http.Request) (*url.URL, error), error) {
	for _, name := range []string{"VAULT_PROXY_ADDR", "VAULT_HTTP_PROXY"} {
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

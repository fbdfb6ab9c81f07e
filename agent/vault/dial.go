package vault

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"time"
)

// A Dialer opens connections to a Vault on which HTTP/1.1 is spoken, to the servers that its
// [Transport] trusts at that moment. It is safe for concurrent use.
type Dialer struct {
	transport *Transport
	network   string
	addr      string
	server    string // expected in the certificate; "" without TLS
}

// NewDialer returns a dialer to base, see [Base]. It returns nil where a forward proxy stands
// in between.
func NewDialer(t *Transport, base *url.URL) *Dialer {
	if proxy := t.HTTP().Proxy; proxy != nil {
		if via, err := proxy(&http.Request{URL: base, Header: http.Header{}}); via != nil || err != nil {
			return nil
		}
	}
	port := base.Port()
	d := &Dialer{transport: t, network: "tcp"}
	switch {
	case base.Scheme == "https":
		d.server = base.Hostname()
		if port == "" {
			port = "443"
		}
	case port == "":
		port = "80"
	}
	d.addr = net.JoinHostPort(base.Hostname(), port)
	return d
}

// Dial opens a connection. It blocks until that is secure, if it is to be, or ctx ends.
func (d *Dialer) Dial(ctx context.Context) (net.Conn, error) {
	raw, err := d.transport.dial(ctx, d.network, d.addr)
	if err != nil {
		return nil, err
	}
	keepAlive(raw)
	d.transport.open.note(raw.RemoteAddr())
	if d.server == "" {
		return raw, nil
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	c := tls.Client(raw, d.transport.single(d.server))
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

// Era changes when connections from before are not to be used again: the computer slept or
// changed its network, or the authorities changed.
func (d *Dialer) Era() int {
	t := d.transport
	t.mu.Lock()
	defer t.mu.Unlock()
	t.look(time.Now())
	return t.era
}

// single is the TLS of a connection of HTTP/1.1.
func (t *Transport) single(server string) *tls.Config {
	t.mu.Lock()
	conf := t.secure.Clone()
	t.mu.Unlock()
	conf.NextProtos = []string{"http/1.1"}
	if conf.ServerName == "" {
		conf.ServerName = server
	}
	return conf
}

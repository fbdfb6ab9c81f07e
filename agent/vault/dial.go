package vault

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
)

// NewDial returns how to open a connection to the Vault at base, see [Base], on which
// HTTP/1.1 is spoken, to the servers that t trusts. It returns nil where a forward proxy
// stands in between. It is called before t is used.
func NewDial(t *http.Transport, base *url.URL) func(context.Context) (net.Conn, error) {
	if t.Proxy != nil {
		if via, err := t.Proxy(&http.Request{URL: base, Header: http.Header{}}); via != nil || err != nil {
			return nil
		}
	}
	port := base.Port()
	secure := base.Scheme == "https"
	switch {
	case port != "":
	case secure:
		port = "443"
	default:
		port = "80"
	}
	addr, dial := net.JoinHostPort(base.Hostname(), port), t.DialContext
	if !secure {
		return func(ctx context.Context) (net.Conn, error) { return dial(ctx, "tcp", addr) }
	}
	conf := t.TLSClientConfig.Clone()
	conf.NextProtos = []string{"http/1.1"}
	if conf.ServerName == "" {
		conf.ServerName = base.Hostname()
	}
	limit := t.TLSHandshakeTimeout
	return func(ctx context.Context) (net.Conn, error) {
		raw, err := dial(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		c := tls.Client(raw, conf)
		if err := c.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, err
		}
		return c, nil
	}
}

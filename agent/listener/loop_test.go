package listener

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/peer"
)

// An agent whose upstream is its own listener notices at the first turn.
func TestLoopOfTheAgent(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			ln, err := Listen(t.Context(), network, freeAddress(t, network))
			if err != nil {
				t.Fatal(err)
			}
			loop := &Loop{}
			transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return loop.Dial(ctx, network, ln.Addr().String())
			}}
			turns := 0
			proxy := &httputil.ReverseProxy{
				Transport: transport,
				Rewrite: func(r *httputil.ProxyRequest) {
					turns++
					r.SetURL(&url.URL{Scheme: "http", Host: ln.Addr().String()})
					if network == "unix" {
						r.Out.URL.Host = "localhost"
					}
				},
			}
			srv := newServer(proxy, &Guard{Addr: ln.Addr(), Loop: loop}, slog.New(slog.DiscardHandler))
			done := make(chan struct{})
			go func() { defer close(done); _ = srv.Serve(ln) }()
			defer func() {
				transport.CloseIdleConnections()
				_ = srv.Close()
				<-done
			}()

			// The app is this process as well, but on a connection of its own.
			s := &fixture{addr: ln.Addr()}
			host := ln.Addr().String()
			if network == "unix" {
				host = "localhost"
			}
			resp, body := s.send(t, "GET /v1/x HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
			if resp.StatusCode != http.StatusLoopDetected || !strings.Contains(body, "stepup: ") || !strings.Contains(body, "`address`") {
				t.Errorf("answer = %d %q, want 508 with the cure", resp.StatusCode, body)
			}
			if turns != 1 {
				t.Errorf("%d turns, want 1", turns)
			}
		})
	}
}

// acceptedBy dials with l and returns both ends.
func acceptedBy(t *testing.T, l *Loop, ln net.Listener) (client net.Conn, server *peer.Conn) {
	t.Helper()
	client, err := l.Dial(t.Context(), ln.Addr().Network(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return client, peer.Identify(c)
}

func TestLoopKnowsOnlyItsOwn(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			address := func() string {
				if network == "unix" {
					return socketPath(t)
				}
				return "127.0.0.1:0"
			}
			var ln [2]net.Listener
			for i := range ln {
				var err error
				if ln[i], err = Listen(t.Context(), network, address()); err != nil {
					t.Fatal(err)
				}
				defer ln[i].Close()
			}
			ours, apps := &Loop{}, &Loop{}
			client, server := acceptedBy(t, ours, ln[0])
			_, app := acceptedBy(t, apps, ln[1])

			if !ours.contains(server) {
				t.Error("our own connection is not known")
			}
			if ours.contains(app) {
				t.Error("an app's connection to another listener is taken for ours")
			}
			if (*Loop)(nil).contains(server) || (&Loop{}).contains(server) {
				t.Error("an empty registry knows a connection")
			}
			_ = client.Close()
			_ = client.Close()
			if ours.contains(server) || len(ours.open) != 0 {
				t.Errorf("a closed connection is still known: %v", ours.open)
			}
		})
	}
}

// An app can be given the local port that we use towards another host.
func TestLoopComparesBothEnds(t *testing.T) {
	t.Parallel()
	ln, err := Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, server := acceptedBy(t, &Loop{}, ln)
	l := &Loop{}
	l.add(endName(server.RemoteAddr()), "192.0.2.1:8200")
	if l.contains(server) {
		t.Error("an app's connection is taken for ours")
	}
	l.add(endName(server.RemoteAddr()), endName(server.LocalAddr()))
	l.remove(endName(server.RemoteAddr()), "192.0.2.1:8200")
	if !l.contains(server) {
		t.Error("removing one remote end removed the other")
	}
}

// The transport's connections must still be able to close one direction and to
// send files without copying.
func TestLoopKeepsMethods(t *testing.T) {
	t.Parallel()
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": socketPath(t)} {
		ln, err := Listen(t.Context(), network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		c, _ := acceptedBy(t, &Loop{}, ln)
		if _, ok := c.(interface{ CloseWrite() error }); !ok {
			t.Errorf("%s: no CloseWrite", network)
		}
		if _, ok := c.(io.ReaderFrom); !ok && network == "tcp" {
			t.Errorf("%s: no ReadFrom", network)
		}
	}
	if _, err := (&Loop{}).Dial(t.Context(), "unix", socketPath(t)); err == nil {
		t.Error("Dial of a missing socket succeeded")
	}
}

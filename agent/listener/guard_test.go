package listener

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/peer"
)

func TestGuardHost(t *testing.T) {
	t.Parallel()
	tcp4 := newFixture(t, "tcp", "127.0.0.1:0", &Guard{})
	tcp6 := newFixture(t, "tcp", "[::1]:0", &Guard{})
	sock := newFixture(t, "unix", socketPath(t), &Guard{})
	port4 := tcp4.addr.(*net.TCPAddr).Port
	port6 := tcp6.addr.(*net.TCPAddr).Port
	for _, tt := range []struct {
		name string
		to   *fixture
		host string
		want int
	}{
		{"own address", tcp4, fmt.Sprintf("127.0.0.1:%d", port4), 200},
		{"localhost", tcp4, fmt.Sprintf("localhost:%d", port4), 200},
		{"localhost in capitals", tcp4, fmt.Sprintf("LocalHost:%d", port4), 200},
		{"localhost to IPv6", tcp6, fmt.Sprintf("localhost:%d", port6), 200},
		{"own IPv6 address", tcp6, fmt.Sprintf("[::1]:%d", port6), 200},
		{"anything on a unix socket", sock, "vault.example", 200},
		{"localhost on a unix socket", sock, "localhost", 200},
		{"no port", tcp4, "127.0.0.1", 421},
		{"localhost without port", tcp4, "localhost", 421},
		{"another port", tcp4, fmt.Sprintf("127.0.0.1:%d", port4%65535+1), 421},
		{"closing dot", tcp4, fmt.Sprintf("localhost.:%d", port4), 421},
		{"rebound name", tcp4, fmt.Sprintf("evil.example:%d", port4), 421},
		{"name below localhost", tcp4, fmt.Sprintf("evil.localhost:%d", port4), 421},
		{"other loopback address", tcp4, fmt.Sprintf("127.0.0.2:%d", port4), 421},
		{"IPv6 address on IPv4", tcp4, fmt.Sprintf("[::1]:%d", port4), 421},
		{"long IPv6 form", tcp6, fmt.Sprintf("[0:0:0:0:0:0:0:1]:%d", port6), 421},
		{"address as a number", tcp4, fmt.Sprintf("2130706433:%d", port4), 421},
		{"every address", tcp4, fmt.Sprintf("0.0.0.0:%d", port4), 421},
		{"empty", tcp4, "", 421},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			resp, body := tt.to.send(t, "GET /v1/sys/health HTTP/1.1\r\nHost: "+tt.host+"\r\n\r\n")
			if tt.want == 200 {
				if resp.StatusCode != 200 || body != "served /v1/sys/health" {
					t.Errorf("answer = %d %q, want the handler's", resp.StatusCode, body)
				}
				return
			}
			wantRefused(t, resp, body, tt.want)
		})
	}
}

func TestAcceptedHostsOnPort80(t *testing.T) {
	t.Parallel()
	for own, want := range map[string]string{
		"127.0.0.1:80":   "127.0.0.1:80 localhost:80 127.0.0.1 localhost",
		"[::1]:80":       "[::1]:80 localhost:80 [::1] localhost",
		"127.0.0.1:8100": "127.0.0.1:8100 localhost:8100",
	} {
		a, err := net.ResolveTCPAddr("tcp", own)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(acceptedHosts(a), " "); got != want {
			t.Errorf("acceptedHosts(%s) = %s, want %s", own, got, want)
		}
	}
}

func TestGuardTarget(t *testing.T) {
	t.Parallel()
	s := newFixture(t, "tcp", "127.0.0.1:0", &Guard{})
	own := s.addr.String()
	for _, tt := range []struct {
		name, line string
		want       int
	}{
		{"path", "GET /v1/kv/data/x?list=true", 200},
		{"odd path", "GET //evil.example/..%2f", 200},
		{"Vault's own method", "LIST /v1/kv/metadata", 200},
		{"options of the server", "OPTIONS *", 200},
		{"asterisk of another method", "GET *", 421},
		{"absolute form of ourselves", "GET http://" + own + "/v1/x", 421},
		{"absolute form of another host", "GET http://evil.example/v1/x", 421},
		{"another scheme", "GET ftp://evil.example/", 421},
		{"connect", "CONNECT evil.example:443", 421},
		{"connect to a path", "CONNECT /v1/x", 421},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			resp, body := s.send(t, tt.line+" HTTP/1.1\r\nHost: "+own+"\r\n\r\n")
			if tt.want != 200 {
				wantRefused(t, resp, body, tt.want)
				return
			}
			_, target, _ := strings.Cut(tt.line, " ")
			if resp.StatusCode != 200 || body != "served "+target {
				t.Errorf("answer = %d %q, want the handler's", resp.StatusCode, body)
			}
		})
	}
}

func TestGuardBrowser(t *testing.T) {
	t.Parallel()
	tcp := newFixture(t, "tcp", "127.0.0.1:0", &Guard{RequireHeader: true})
	sock := newFixture(t, "unix", socketPath(t), &Guard{})
	for _, tt := range []struct {
		header string
		want   int
	}{
		{"User-Agent: Mozilla/5.0", 200},
		{"Accept: */*", 200},
		{"Secfetch: x", 200},
		{"Originator: x", 200},
		{"X-Forwarded-Origin: x", 200},
		{"Origin: https://evil.example", 403},
		{"Origin: null", 403},
		{"Origin:", 403},
		{"origin: http://localhost:8100", 403},
		{"Referer: https://evil.example/", 403},
		{"REFERER: http://127.0.0.1:8100/", 403},
		{"Sec-Fetch-Site: none", 403},
		{"Sec-Fetch-Site: same-origin", 403},
		{"Sec-Fetch-Mode: cors", 200}, // Node's fetch
		{"Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: cross-site", 403},
		{"Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image", 403},
		{"Sec-Fetch-Dest: image", 403},
		{"sec-fetch-user: ?1", 403},
		{"Sec-Fetch-Storage-Access: active", 403},
	} {
		for host, s := range map[string]*fixture{tcp.addr.String(): tcp, "localhost": sock} {
			t.Run(s.addr.Network()+" "+tt.header, func(t *testing.T) {
				t.Parallel()
				resp, body := s.send(t, "POST /v1/sys/seal HTTP/1.1\r\nHost: "+host+
					"\r\nX-Vault-Request: true\r\nContent-Length: 0\r\n"+tt.header+"\r\n\r\n")
				if s == tcp && tt.want != 200 {
					wantRefused(t, resp, body, tt.want)
				} else if resp.StatusCode != 200 {
					t.Errorf("answer = %d %q, want the handler's", resp.StatusCode, body)
				}
			})
		}
	}
}

// A preflight is answered with a no, without anything that a browser would take
// for a permission.
func TestGuardPreflight(t *testing.T) {
	t.Parallel()
	s := newFixture(t, "tcp", "127.0.0.1:0", &Guard{})
	resp, body := s.send(t, "OPTIONS /v1/kv/data/x HTTP/1.1\r\nHost: "+s.addr.String()+
		"\r\nOrigin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-vault-token\r\n\r\n")
	wantRefused(t, resp, body, 403)
}

func TestGuardRequestHeader(t *testing.T) {
	t.Parallel()
	strict := newFixture(t, "tcp", "127.0.0.1:0", &Guard{RequireHeader: true})
	loose := newFixture(t, "tcp", "127.0.0.1:0", &Guard{})
	for _, tt := range []struct {
		name, headers string
		to            *fixture
		want          int
	}{
		{"as Vault's clients", "X-Vault-Request: true\r\n", strict, 200},
		{"name in lower case", "x-vault-request: true\r\n", strict, 200},
		{"not required", "", loose, 200},
		{"missing", "", strict, 412},
		{"false", "X-Vault-Request: false\r\n", strict, 412},
		{"empty", "X-Vault-Request:\r\n", strict, 412},
		{"capitals", "X-Vault-Request: TRUE\r\n", strict, 412},
		{"twice", "X-Vault-Request: true\r\nX-Vault-Request: true\r\n", strict, 412},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			resp, body := tt.to.send(t, "GET /v1/x HTTP/1.1\r\nHost: "+tt.to.addr.String()+"\r\n"+tt.headers+"\r\n")
			if tt.want == 200 && resp.StatusCode != 200 {
				t.Errorf("answer = %d %q, want the handler's", resp.StatusCode, body)
			}
			if tt.want != 200 {
				wantRefused(t, resp, body, tt.want)
			}
		})
	}
}

func TestHeaderLimit(t *testing.T) {
	t.Parallel()
	s := newFixture(t, "tcp", "127.0.0.1:0", &Guard{})
	for _, tt := range []struct {
		name  string
		total int
		want  int
	}{
		{"one mebibyte", 1 << 20, 200},
		{"a little more", 1<<20 + 100, 431},
		{"two mebibytes", 2 << 20, 431},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			head := "GET /v1/x HTTP/1.1\r\nHost: " + s.addr.String() + "\r\nX-Long: "
			request := head + strings.Repeat("a", tt.total-len(head)-4) + "\r\n\r\n"
			c, err := net.Dial("tcp", s.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			sent := make(chan struct{})
			go func() { // the server may stop reading before the end
				defer close(sent)
				_, _ = io.WriteString(c, request)
			}()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != tt.want {
				t.Errorf("status = %d, want %d", resp.StatusCode, tt.want)
			}
			_ = c.Close()
			<-sent
		})
	}
}

// What keeps slow clients from piling up, and streams from being cut, is
// configuration: its effect would take longer to see than a test may.
func TestServerLimits(t *testing.T) {
	t.Parallel()
	srv := newServer(http.NotFoundHandler(), &Guard{}, slog.New(slog.DiscardHandler))
	if srv.ReadHeaderTimeout != 10*time.Second || srv.IdleTimeout != 5*time.Minute {
		t.Errorf("header timeout %v, idle timeout %v", srv.ReadHeaderTimeout, srv.IdleTimeout)
	}
	if srv.ReadTimeout != 0 || srv.WriteTimeout != 0 {
		t.Errorf("read timeout %v, write timeout %v, want none", srv.ReadTimeout, srv.WriteTimeout)
	}
	if srv.Protocols.HTTP2() || srv.Protocols.UnencryptedHTTP2() || !srv.Protocols.HTTP1() {
		t.Errorf("protocols = %v, want HTTP/1 only", srv.Protocols)
	}
}

// A guard whose ConnContext was forgotten refuses everything.
func TestGuardWithoutConnContext(t *testing.T) {
	t.Parallel()
	g := &Guard{Addr: &net.UnixAddr{Name: "/s", Net: "unix"}}
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"of a user":         g.Wrap,
		"of this user":      func(h http.Handler) http.Handler { return g.WrapSameUser("", h) },
		"of a process tree": func(h http.Handler) http.Handler { return g.WrapProcessTree(os.Getpid(), h) },
	} {
		called := false
		w := httptest.NewRecorder()
		wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true })).ServeHTTP(w, httptest.NewRequest("GET", "/v1/x", nil))
		if w.Code != 403 || called {
			t.Errorf("%s: status = %d, handler called: %v; want 403 and no call", name, w.Code, called)
		}
	}
}

// Handlers find the peer of their connection, also behind another guard than the
// one that accepted it.
func TestGuardGivesPeer(t *testing.T) {
	t.Parallel()
	ln, err := Listen(t.Context(), "unix", socketPath(t))
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan peer.Peer, 1)
	old, replaced := &Guard{Addr: ln.Addr()}, &Guard{Addr: ln.Addr()}
	srv := &http.Server{
		ConnContext: old.ConnContext,
		Handler: replaced.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got <- peer.FromContext(r.Context())
		})),
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	defer func() { _ = srv.Close(); <-done }()

	s := &fixture{addr: ln.Addr()}
	if resp, body := s.send(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); resp.StatusCode != 200 {
		t.Fatalf("status = %d %q", resp.StatusCode, body)
	}
	if p := <-got; p.PID == 0 || len(p.Chain) == 0 {
		t.Errorf("peer = %+v, want this process", p)
	}
}

func TestGuardReports(t *testing.T) {
	t.Parallel()
	reports := make(chan string, 100)
	g := &Guard{RequireHeader: true, OnRefuse: func(reason string, p peer.Peer) {
		reports <- fmt.Sprintf("%s %v", reason, p.PID != 0)
	}}
	s := newFixture(t, "tcp", "127.0.0.1:0", g)
	host := "\r\nHost: " + s.addr.String() + "\r\n"
	for _, tt := range []struct{ request, want string }{
		{"GET /v1/x HTTP/1.1\r\nHost: evil.example\r\n\r\n", "host true"},
		{"GET http://evil.example/ HTTP/1.1" + host + "\r\n", "proxy request true"},
		{"GET /v1/x HTTP/1.1" + host + "Origin: null\r\n\r\n", "browser true"},
		{"GET /v1/x HTTP/1.1" + host + "\r\n", "request header true"},
	} {
		if resp, _ := s.send(t, tt.request); resp.StatusCode < 400 {
			t.Fatalf("status of %q = %d, want a refusal", tt.request, resp.StatusCode)
		}
		if got := <-reports; got != tt.want {
			t.Errorf("report = %q, want %q", got, tt.want)
		}
	}
	if n := s.served.Load(); n != 0 {
		t.Errorf("%d refused requests were served", n)
	}
}

func TestRefusalLimit(t *testing.T) {
	t.Parallel()
	var l refusalLimit
	now := time.Unix(1_000_000, 0)
	mallory, alice := refusalKey{RefusedUser, 1001}, refusalKey{RefusedUser, 1000}
	count := func(k refusalKey) (n int) {
		for range 1000 {
			if l.allow(k, now) {
				n++
			}
		}
		return n
	}
	if n := count(mallory); n != refusalBurst {
		t.Errorf("%d reports at once, want %d", n, refusalBurst)
	}
	now = now.Add(3 * refusalInterval)
	if n := count(mallory); n != 3 {
		t.Errorf("%d reports after three intervals, want 3", n)
	}
	if n := count(alice); n != refusalBurst {
		t.Errorf("%d reports about another user, want %d", n, refusalBurst)
	}
	now = now.Add(time.Hour)
	if n := count(mallory); n != refusalBurst {
		t.Errorf("%d reports after an hour, want %d", n, refusalBurst)
	}
}

// The lines of words.go that take an argument are used with one.
func TestRefusalWords(t *testing.T) {
	t.Parallel()
	g := &Guard{Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8100}}
	r := httptest.NewRequestWithContext(context.Background(), "GET", "/v1/x", nil)
	no, refused := g.checkRequest(r, acceptedHosts(g.Addr))
	if !refused || !strings.HasSuffix(no.text, "http://127.0.0.1:8100") {
		t.Errorf("refusal = %+v, want one that names the listener", no)
	}
}

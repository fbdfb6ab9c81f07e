package agent

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/listener"
)

// pipes is a listener for connections in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// A reload that closes an address leaves the requests that came by it alone, however
// long a person takes; the agent's end does not.
func TestClosedAddressKeepsItsRequests(t *testing.T) {
	t.Parallel()
	for name, stopped := range map[string]bool{"answered": false, "agent stops": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				answer := make(chan struct{})
				ln := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
				l := &openListener{Listener: listener.New(t.Context(), ln, listener.Config{
					Guard:   &listener.Guard{Addr: ln.Addr(), AnyUser: true},
					Others:  listener.NewOtherUsers(),
					Measure: func(h http.Handler) http.Handler { return h },
					Log:     slog.New(slog.DiscardHandler),
				})}
				l.SetOtherUsersTime(time.Hour) // the peer of a connection in memory is unknown
				l.SetHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					select {
					case <-answer:
						_, _ = io.WriteString(w, "done")
					case <-r.Context().Done():
						panic(http.ErrAbortHandler) // no answer
					}
				}))
				a := &Agent{retired: make(map[*openListener]bool)}
				a.serve(l)
				ours, theirs := net.Pipe()
				defer ours.Close()
				ln.conns <- theirs
				if _, err := io.WriteString(ours, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				a.mu.Lock()
				a.retireLocked(l)
				a.mu.Unlock()
				time.Sleep(50 * time.Second) // the person thinks
				if stopped {
					go l.Stop()
				} else {
					close(answer)
				}
				resp, err := http.ReadResponse(bufio.NewReader(ours), nil)
				if err == nil {
					_ = resp.Body.Close()
				}
				if ok := err == nil && resp.StatusCode == http.StatusOK; ok == stopped {
					t.Errorf("%+v, %v", resp, err)
				}
				a.servers.Wait()
				if len(a.retired) > 0 {
					t.Error("it is not forgotten")
				}
			})
		})
	}
}

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// A terminal is a screen and a keyboard.
type terminal struct {
	ptmx   *os.File
	fresh  chan struct{} // gets an element when there is more on the screen
	closed chan struct{} // closed when nothing more comes

	mu   sync.Mutex
	seen []byte
	read int // up to here it was waited for
}

// attach runs "stepup attach" on a terminal until the end of the test.
func (a *agent) attach(t *testing.T) *terminal {
	t.Helper()
	cmd := exec.Command(a.bin, "attach")
	cmd.Env = append(append([]string{}, a.env...), "TERM=dumb")
	tie(cmd)
	ptmx, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 250})
	if err != nil {
		t.Skip("needs a terminal: ", err)
	}
	s := &terminal{ptmx: ptmx, fresh: make(chan struct{}, 1), closed: make(chan struct{})}
	go s.watch()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		<-s.closed
		_ = ptmx.Close()
		if t.Failed() {
			t.Logf("the terminal:\n%s", s.text())
		}
	})
	s.wait(t, "waiting for questions")
	return s
}

func (s *terminal) watch() {
	defer close(s.closed)
	buf := make([]byte, 4096)
	for {
		n, err := s.ptmx.Read(buf)
		s.mu.Lock()
		s.seen = append(s.seen, buf[:n]...)
		s.mu.Unlock()
		select {
		case s.fresh <- struct{}{}:
		default:
		}
		if err != nil {
			return // the other end is closed
		}
	}
}

// wait returns when the texts are on the screen, each behind the one before and
// behind what was waited for earlier.
func (s *terminal) wait(t *testing.T, texts ...string) {
	t.Helper()
	guard := time.NewTimer(patience)
	defer guard.Stop()
	for _, text := range texts {
		for !s.find(text) {
			select {
			case <-s.fresh:
			case <-guard.C:
				t.Fatalf("%q does not come on the terminal", text)
			}
		}
	}
}

func (s *terminal) find(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := bytes.Index(s.seen[s.read:], []byte(text))
	if i >= 0 {
		s.read += i + len(text)
	}
	return i >= 0
}

// press types keys; Enter is "\r".
func (s *terminal) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := s.ptmx.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// text is everything that was on the screen.
func (s *terminal) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.ReplaceAll(string(s.seen), "\r", "")
}

// count is how often a text was on the screen.
func (s *terminal) count(text string) int { return strings.Count(s.text(), text) }

// waitNotice waits for the notice of a push: the request, and where to approve it.
func (s *terminal) waitNotice(t *testing.T, what string, p *pushMethod) {
	t.Helper()
	s.wait(t, "wants to "+what, fmt.Sprintf("Approve it on your phone (%s, %s)", p.name, p.kind))
}

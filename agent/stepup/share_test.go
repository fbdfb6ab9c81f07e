package stepup_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A phone is a Vault that pushes, and answers when the test says so.
type phone struct {
	mu     sync.Mutex
	rung   int
	ended  int // requests that were dropped
	answer chan *http.Response
}

func (p *phone) send(ctx context.Context, _ []mfa.Credential, _ cache.Token) (*http.Response, error) {
	p.mu.Lock()
	p.rung++
	p.mu.Unlock()
	select {
	case resp := <-p.answer:
		return resp, nil
	case <-ctx.Done():
		p.mu.Lock()
		p.ended++
		p.mu.Unlock()
		return nil, ctx.Err()
	}
}

func same(m rule.Match, name string) rule.Match {
	m.ShareKey = name
	return m
}

// A waiter is one request at a shared try.
type waiter struct {
	resp  *http.Response
	v     mfa.Verdict
	err   error
	leave context.CancelFunc
	done  chan struct{}
}

func (s *fixture) request(t *testing.T, m rule.Match, token secret.Secret, p *phone) *waiter {
	t.Helper()
	w := &waiter{done: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	w.leave = cancel
	go func() {
		defer close(w.done)
		w.resp, w.v, w.err = s.resolver.First(ctx, m, token, p.send)
	}()
	return w
}

func (w *waiter) body(t *testing.T) string {
	t.Helper()
	<-w.done
	if w.err != nil || w.resp == nil {
		t.Fatalf("no answer: %+v %v", w.v, w.err)
	}
	body, err := io.ReadAll(w.resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = w.resp.Body.Close()
	return string(body)
}

// A hundred requests that are the same ring the phone once, and each gets all of
// the answer, in headers of its own.
func TestSameRequestsPushOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := newFixture(t, nil), &phone{answer: make(chan *http.Response)}
		want := string(bytes.Repeat([]byte("0123456789abcdef"), 1<<15)) // half a MiB
		var all []*waiter
		for range 100 {
			all = append(all, s.request(t, same(prod("okta"), "x"), "tok", p))
		}
		time.Sleep(5 * time.Second)
		p.answer <- answer(200, want)
		for i, w := range all {
			if got := w.body(t); got != want || w.v.Outcome != mfa.Approved {
				t.Fatalf("request %d: %d bytes, verdict %+v", i, len(got), w.v)
			}
			w.resp.Header.Set("X", "mine")
		}
		if asked := s.person.messages(); p.rung != 1 || len(asked) != 1 {
			t.Errorf("rang %d times, told %v", p.rung, asked)
		}
		approved := 0
		for _, e := range s.audit.events {
			if e == audit.Approved {
				approved++
			}
		}
		if approved != 1 {
			t.Errorf("%d decisions", approved)
		}
	})
}

// Whatever differs is a decision of its own.
func TestDifferentRequestsPushTwice(t *testing.T) {
	t.Parallel()
	other := prod("okta")
	other.Rule = &rule.Rule{Name: "else", Methods: []string{"okta"}, Grant: other.Rule.Grant}
	type test struct {
		match rule.Match
		token secret.Secret
	}
	tests := map[string]test{
		"another body":   {same(prod("okta"), "y"), "tok"},
		"another caller": {same(prod("okta"), "x"), "tok2"},
		"another rule":   {same(other, "x"), "tok"},
		"not to share":   {prod("okta"), "tok"},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s, p := newFixture(t, nil), &phone{answer: make(chan *http.Response)}
		one := s.request(t, same(prod("okta"), "x"), "tok", p)
		two := s.request(t, tt.match, tt.token, p)
		synctest.Wait()
		p.answer <- answer(200, "a")
		p.answer <- answer(200, "a")
		if one.body(t) != "a" || two.body(t) != "a" || p.rung != 2 {
			t.Errorf("rang %d times", p.rung)
		}
	})
}

// The one who came first may leave; the try goes on for those who wait, and ends
// when nobody does. Who comes after that starts anew.
func TestSharedTryOutlivesItsFirstCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := newFixture(t, nil), &phone{answer: make(chan *http.Response)}
		one := s.request(t, same(prod("okta"), "x"), "tok", p)
		synctest.Wait()
		two := s.request(t, same(prod("okta"), "x"), "tok", p)
		synctest.Wait()
		one.leave()
		<-one.done
		if !errors.Is(one.err, context.Canceled) {
			t.Errorf("who left got %+v, %v", one.v, one.err)
		}
		time.Sleep(5 * time.Second)
		p.answer <- answer(200, "a")
		if two.body(t) != "a" || two.v.Outcome != mfa.Approved || p.rung != 1 {
			t.Errorf("who stayed got %+v, after %d pushes", two.v, p.rung)
		}

		three := s.request(t, same(prod("okta"), "x"), "tok", p)
		time.Sleep(5 * time.Second)
		three.leave()
		<-three.done
		four := s.request(t, same(prod("okta"), "x"), "tok", p)
		synctest.Wait()
		if p.ended != 1 || p.rung != 3 || s.broker.Len() != 0 {
			t.Errorf("%d dropped, rang %d times, %d notices open", p.ended, p.rung, s.broker.Len())
		}
		p.answer <- answer(200, "b")
		if four.body(t) != "b" {
			t.Error("who came after it was dropped did not get an answer")
		}
		for _, e := range s.audit.events {
			if e == audit.Denied || e == audit.Timeout {
				t.Errorf("leaving was counted as %s", e)
			}
		}
	})
}

// A no is everybody's no: here, on the phone, and by a lock.
func TestSharedNo(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*fixture, *phone){
		"on the phone": func(_ *fixture, p *phone) { p.answer <- answer(403, generic) },
		"here":         func(s *fixture, _ *phone) { _ = s.broker.Deny(s.broker.Pending()[0].ID) },
		"by a lock":    func(s *fixture, _ *phone) { s.broker.CancelAll(); s.state.Cancel() },
	}
	for name, no := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := newFixture(t, nil), &phone{answer: make(chan *http.Response)}
				one := s.request(t, same(prod("okta"), "x"), "tok", p)
				two := s.request(t, same(prod("okta"), "x"), "tok", p)
				time.Sleep(5 * time.Second)
				no(s, p)
				<-one.done
				<-two.done
				three := s.request(t, same(prod("okta"), "x"), "tok", p)
				<-three.done
				if one.v.Outcome != mfa.Denied || two.v != one.v || three.v.Outcome != mfa.Cooldown || p.rung != 1 {
					t.Errorf("%+v, %+v, then %+v, after %d pushes", one.v, two.v, three.v, p.rung)
				}
			})
		})
	}
}

// One question, too, for all of them.
func TestSharedQuestion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := newFixture(t, func(c *stepup.Config) { c.ConfirmPush = true }), &phone{answer: make(chan *http.Response)}
		s.person.codes("yes")
		s.person.thinks(3 * time.Second)
		one := s.request(t, same(prod("okta"), "x"), "tok", p)
		two := s.request(t, same(prod("okta"), "x"), "tok", p)
		time.Sleep(10 * time.Second)
		p.answer <- answer(200, "a")
		if one.body(t) != "a" || two.body(t) != "a" || len(s.person.messages()) != 2 {
			t.Errorf("asked %v", s.person.messages())
		}
	})
}

// A slow reader holds the others back, and takes no memory for what they have
// read; when it leaves they go on. An answer that never ends comes as it comes.
func TestSharedAnswerStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := newFixture(t, nil), &phone{answer: make(chan *http.Response)}
		one := s.request(t, same(prod("okta"), "x"), "tok", p)
		two := s.request(t, same(prod("okta"), "x"), "tok", p)
		synctest.Wait()
		r, w := io.Pipe()
		p.answer <- &http.Response{StatusCode: 200, Header: http.Header{}, Body: r}
		<-one.done
		<-two.done
		chunk := bytes.Repeat([]byte("x"), 1<<16)
		written := make(chan int, 1)
		go func() {
			n := 0
			for range 64 { // 4 MiB
				m, err := w.Write(chunk)
				if n += m; err != nil {
					break
				}
			}
			written <- n
		}()
		got := make(chan int64, 1)
		go func() {
			n, _ := io.CopyN(io.Discard, one.resp.Body, 4<<20)
			got <- n
		}()
		synctest.Wait()
		select {
		case n := <-written:
			t.Fatalf("%d bytes are kept for a reader that reads nothing", n)
		default:
		}
		_ = two.resp.Body.Close()
		if n, m := <-got, <-written; n != 4<<20 || m != 4<<20 {
			t.Errorf("read %d of %d bytes", n, m)
		}
		if _, err := two.resp.Body.Read(make([]byte, 1)); err == nil {
			t.Error("a closed copy can be read")
		}
		one.leave() // the app leaves while nothing comes
		synctest.Wait()
		_, _ = w.Write([]byte("x")) // net/http's body would have ended with its context
		if _, err := w.Write([]byte("x")); err == nil {
			t.Error("the answer is still read when nobody is there")
		}
	})
}

// Trailers, and the end of an answer that breaks.
func TestSharedAnswerEnds(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, end := range map[string]error{"whole": io.EOF, "broken": broken} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := newFixture(t, nil), &phone{answer: make(chan *http.Response)}
				one := s.request(t, same(prod("okta"), "x"), "tok", p)
				two := s.request(t, same(prod("okta"), "x"), "tok", p)
				synctest.Wait()
				resp := &http.Response{StatusCode: 200, Header: http.Header{}}
				resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader([]byte("abc")), ending(func() error {
					resp.Trailer = http.Header{"Sum": {"1"}}
					return end
				})))
				p.answer <- resp
				for _, w := range []*waiter{one, two} {
					<-w.done
					body, err := io.ReadAll(w.resp.Body)
					if end == io.EOF && (err != nil || w.resp.Trailer.Get("Sum") != "1") || end != io.EOF && !errors.Is(err, broken) || string(body) != "abc" {
						t.Errorf("%q %v, trailer %v", body, err, w.resp.Trailer)
					}
				}
			})
		})
	}
}

type ending func() error

func (e ending) Read([]byte) (int, error) { return 0, e() }

// The ledger's end is the end of what is shared, and of new ones.
func TestLedgerClosesSharedTries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := newFixture(t, nil), &phone{answer: make(chan *http.Response)}
		one := s.request(t, same(prod("okta"), "x"), "tok", p)
		synctest.Wait()
		s.state.Close()
		<-one.done
		if one.err == nil && one.v.OK() || p.ended != 1 {
			t.Errorf("%+v %v", one.v, one.err)
		}
		two := s.request(t, same(prod("okta"), "x"), "tok", p)
		if <-two.done; two.v.Outcome != mfa.Unavailable || p.rung != 1 {
			t.Errorf("after the end: %+v", two.v)
		}
	})
}

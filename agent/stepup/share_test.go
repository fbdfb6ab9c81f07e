package stepup_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/secret"
)

// pushing is a Vault that pushes, and answers when the test says so.
type pushing struct {
	*fixture
	mu      sync.Mutex
	dropped int // requests that were
	answer  chan *http.Response
}

// pushes makes Vault push.
func (f *fixture) pushes() *pushing {
	p := &pushing{fixture: f, answer: make(chan *http.Response)}
	f.up.serve = func(ctx context.Context, _ string) (*http.Response, error) {
		select {
		case resp := <-p.answer:
			return resp, nil
		case <-ctx.Done():
			p.mu.Lock()
			defer p.mu.Unlock()
			p.dropped++
			return nil, ctx.Err()
		}
	}
	return p
}

func (p *pushing) count() int { return len(p.up.lines()) }

// same is m with a name by which requests are the same.
func same(m rule.Match, name string) rule.Match {
	m.ShareKey = name
	return m
}

// A waiter is one request at a shared try.
type waiter struct {
	result
	leave context.CancelFunc
	done  chan struct{}
}

// wait sends a request that others may share.
func (p *pushing) wait(t *testing.T, m rule.Match, token secret.Secret) *waiter {
	t.Helper()
	w := &waiter{done: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	w.leave = cancel
	go func() {
		defer close(w.done)
		w.result = p.of(p.resolver.First(ctx, m, token, p.up.send))
	}()
	return w
}

// share sends the request that most tests share.
func (p *pushing) share(t *testing.T) *waiter {
	t.Helper()
	return p.wait(t, same(prod("okta"), "x"), "tok")
}

// gets waits for the answer.
func (w *waiter) gets(t *testing.T, body string) {
	t.Helper()
	<-w.done
	w.check(t, want{outcome: w.v.Outcome, status: 200, body: body})
	_ = w.resp.Body.Close()
}

// A hundred requests that are the same make one push, and each gets all of the answer, in
// headers of its own.
func TestSameRequestsPushOnce(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		p := f.pushes()
		body := string(bytes.Repeat([]byte("0123456789abcdef"), 1<<15)) // half a MiB
		var all []*waiter
		for range 100 {
			all = append(all, p.share(t))
		}
		time.Sleep(5 * time.Second)
		p.answer <- answer(200, body)
		for _, w := range all {
			w.gets(t, body)
			equal(t, "outcome", mfa.Approved, w.v.Outcome)
			equal(t, "foreign header", "", w.resp.Header.Get("X"))
			w.resp.Header.Set("X", "mine")
		}
		equal(t, "pushes and prompts", [2]int{1, 1}, [2]int{p.count(), len(f.person.messages())})
		events := slices.DeleteFunc(f.audit.all(), func(e audit.Event) bool { return e != audit.Approved })
		equal(t, "decisions", []audit.Event{audit.Approved}, events)
	})
}

// Requests that differ in anything are decisions of their own.
func TestDifferentRequestsPushTwice(t *testing.T) {
	other := prod("okta")
	other.Rule.Name = "else"
	type test struct {
		match rule.Match
		token secret.Secret
	}
	run(t, map[string]test{
		"another body":   {same(prod("okta"), "y"), "tok"},
		"another caller": {same(prod("okta"), "x"), "tok2"},
		"another rule":   {same(other, "x"), "tok"},
		"not to share":   {prod("okta"), "tok"},
	}, func(t *testing.T, tt test) {
		p := newFixture(t, nil).pushes()
		one, two := p.share(t), p.wait(t, tt.match, tt.token)
		synctest.Wait()
		p.answer <- answer(200, "a")
		p.answer <- answer(200, "a")
		one.gets(t, "a")
		two.gets(t, "a")
		equal(t, "pushes", 2, p.count())
	})
}

// The first request may leave: the try goes on for those that wait, and ends when none does. A
// request after that starts anew.
func TestSharedTryOutlivesItsFirstCaller(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		p := f.pushes()
		one := p.share(t)
		synctest.Wait()
		two := p.share(t)
		synctest.Wait()
		one.leave()
		<-one.done
		one.check(t, want{err: context.Canceled})
		time.Sleep(5 * time.Second)
		p.answer <- answer(200, "a")
		two.gets(t, "a")
		two.check(t, want{outcome: mfa.Approved, sent: []string{""}})

		three := p.share(t)
		time.Sleep(5 * time.Second)
		three.leave()
		<-three.done
		four := p.share(t)
		synctest.Wait()
		equal(t, "dropped, pushes, open notices", [3]int{1, 3, 0}, [3]int{p.dropped, p.count(), f.broker.Len()})
		p.answer <- answer(200, "b")
		four.gets(t, "b")
		if events := f.audit.all(); slices.Contains(events, audit.Denied) || slices.Contains(events, audit.Timeout) {
			t.Errorf("leaving was counted: %s", events)
		}
	})
}

// A denial counts for all of them: here, on the phone, and by a lock.
func TestSharedDenial(t *testing.T) {
	run(t, map[string]func(*pushing){
		"on the phone": func(p *pushing) { p.answer <- answer(403, generic) },
		"here":         func(p *pushing) { _ = p.broker.Deny(p.broker.Pending()[0].ID) },
		"by a lock":    func(p *pushing) { p.broker.CancelAll(); p.state.Cancel() },
	}, func(t *testing.T, deny func(*pushing)) {
		p := newFixture(t, nil).pushes()
		one, two := p.share(t), p.share(t)
		time.Sleep(5 * time.Second)
		deny(p)
		<-one.done
		<-two.done
		three := p.share(t)
		<-three.done
		one.check(t, want{outcome: mfa.Denied})
		equal(t, "the second", one.v, two.v)
		three.check(t, want{outcome: mfa.Cooldown, sent: []string{""}})
	})
}

// There is one question, too, for all of them.
func TestSharedQuestion(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.change(confirmPush)
		p := f.pushes()
		f.person.codes("3s yes")
		one, two := p.share(t), p.share(t)
		time.Sleep(10 * time.Second)
		p.answer <- answer(200, "a")
		one.gets(t, "a")
		two.gets(t, "a")
		equal(t, "prompts", 2, len(f.person.messages()))
	})
}

// A slow reader holds the others back, and takes no memory for what they have read; when it
// leaves they go on. An answer that never ends comes as it comes.
func TestSharedAnswerStreams(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		p := f.pushes()
		one, two := p.share(t), p.share(t)
		synctest.Wait()
		r, w := io.Pipe()
		p.answer <- &http.Response{StatusCode: 200, Header: http.Header{}, Body: r}
		<-one.done
		<-two.done
		written, read := make(chan int64, 1), make(chan int64, 1)
		go func() {
			n, _ := io.Copy(w, bytes.NewReader(make([]byte, 4<<20)))
			written <- n
		}()
		go func() {
			n, _ := io.CopyN(io.Discard, one.resp.Body, 4<<20)
			read <- n
		}()
		synctest.Wait()
		select {
		case n := <-written:
			t.Fatalf("%d bytes are kept for a reader that reads nothing", n)
		default:
		}
		_ = two.resp.Body.Close()
		equal(t, "read and written", [2]int64{4 << 20, 4 << 20}, [2]int64{<-read, <-written})
		if _, err := two.resp.Body.Read(make([]byte, 1)); err == nil {
			t.Error("a closed copy can be read")
		}
		one.leave() // the app leaves while nothing comes
		synctest.Wait()
		_, _ = w.Write([]byte("x")) // net/http's body would have ended with its context
		if _, err := w.Write([]byte("x")); err == nil {
			t.Error("the answer is still read after all have left")
		}
	})
}

// Each copy has the trailers, or the error of an answer that breaks.
func TestSharedAnswerEnds(t *testing.T) {
	run(t, map[string]error{"whole": io.EOF, "broken": errors.New("broken")}, func(t *testing.T, end error) {
		p := newFixture(t, nil).pushes()
		all := []*waiter{p.share(t), p.share(t)}
		synctest.Wait()
		resp := &http.Response{StatusCode: 200, Header: http.Header{}}
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader([]byte("abc")), ending(func() error {
			resp.Trailer = http.Header{"Sum": {"1"}}
			return end
		})))
		p.answer <- resp
		for _, w := range all {
			<-w.done
			body, err := io.ReadAll(w.resp.Body)
			if end == io.EOF && (err != nil || w.resp.Trailer.Get("Sum") != "1") || end != io.EOF && !errors.Is(err, end) || string(body) != "abc" {
				t.Errorf("%q %v, trailer %v", body, err, w.resp.Trailer)
			}
		}
	})
}

type ending func() error

func (e ending) Read([]byte) (int, error) { return 0, e() }

// The end of the state ends the shared tries, and starts no others.
func TestStateClosesSharedTries(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		p := f.pushes()
		one := p.share(t)
		synctest.Wait()
		f.state.Close()
		<-one.done
		if one.err == nil && one.v.OK() || p.dropped != 1 {
			t.Errorf("%+v %v", one.v, one.err)
		}
		two := p.share(t)
		<-two.done
		two.check(t, want{outcome: mfa.Unavailable, sent: []string{""}})
	})
}

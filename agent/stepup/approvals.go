package stepup

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

const (
	// maxApprovals bounds what is remembered; a request beyond it is waited for,
	// and its next try opens a new one at Vault.
	maxApprovals = 256
	// keptAnswer is how long a released answer waits for a program that left in the
	// moment in which it came: Vault gives it out once.
	keptAnswer = time.Minute
	// maxReleased is more than Vault's own limit of a request, and far more than
	// any answer that people approve.
	maxReleased = 32 << 20
)

// A groupKey names one request of one caller: nobody else's approval, and no
// other request's answer, is ever found under it.
type groupKey struct {
	Caller cache.Key // without a rule: a reload may rename that
	Print  string    // of the request; see rule.Match
}

// An approval is a request that Vault holds back, as long as Vault does.
type approval struct {
	key     groupKey
	With    secret.Secret // the token that the request was sent with
	Token   secret.Secret // the wrapping token
	access  string        // its accessor
	held    kept          // Vault's own answer, for whoever gives up
	expires time.Time     // wall clock
	slot    chan struct{}
	done    chan struct{} // closed when verdict and answer are final

	// Guarded by the mutex of approvals until done is closed.
	users   int // requests that wait
	seen    bool
	gone    bool // Vault no longer knows it: a new request is the way on
	verdict mfa.Verdict
	answer  kept
}

// Format implements fmt.Formatter.
func (p *approval) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "approval of %q", p.access) }

// A kept is an answer of Vault in memory; its body may be a secret.
type kept struct {
	status int
	header http.Header
	Body   secret.Secret
}

// Format implements fmt.Formatter.
func (k kept) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "answer of status %d", k.status) }

// keep reads an answer and closes it.
func keep(resp *http.Response, limit int64) (kept, error) {
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = fmt.Errorf("answer has more than %d bytes", limit)
	}
	return kept{status: resp.StatusCode, header: resp.Header.Clone(), Body: secret.Secret(body)}, err
}

// response is the answer anew, once for each request that gets it.
func (k kept) response() *http.Response {
	body := k.Body.Reveal()
	header := k.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	return &http.Response{
		StatusCode: k.status, Status: strconv.Itoa(k.status) + " " + http.StatusText(k.status),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header,
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}

// approvals remembers the requests that wait for other people, across requests
// and reloads. The zero value is ready.
type approvals struct {
	mu     sync.Mutex // never held while anything is waited for
	all    map[groupKey]*approval
	closed bool
}

// find returns the approval that a request with this key waits for, nil when
// there is none. The caller must leave it.
func (a *approvals) find(k groupKey) *approval {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sweepLocked()
	p := a.all[k]
	if p == nil {
		return nil
	}
	p.users++
	select {
	case <-p.done: // an answer that nobody was there for: the next one has it
		delete(a.all, k)
	default:
	}
	return p
}

// add remembers p, or returns the approval that is there already under its key:
// two requests at once made two of them at Vault, and one is enough. The caller
// must leave it.
func (a *approvals) add(p *approval) *approval {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sweepLocked()
	if old := a.all[p.key]; old != nil && p.key.Print != "" {
		p = old
	} else if p.key.Print != "" && len(a.all) < maxApprovals && !a.closed {
		if a.all == nil {
			a.all = make(map[groupKey]*approval)
		}
		a.all[p.key] = p
	}
	p.users++
	return p
}

func (a *approvals) leave(p *approval) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p.users--
}

// sweepLocked forgets what has expired. Those that wait on it find out by Vault.
func (a *approvals) sweepLocked() {
	now := time.Now().Round(0)
	for k, p := range a.all {
		if !now.Before(p.expires) {
			delete(a.all, k)
		}
	}
}

// finish decides p for everybody who waits, unless that was done. An answer
// stays for a minute where left says that whoever fetched it is no longer there,
// and nobody else waits.
func (a *approvals) finish(p *approval, v mfa.Verdict, answer kept, left bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.finishLocked(p, v, answer)
	if left && p.users <= 1 && v.Outcome == mfa.Approved && p.key.Print != "" && !a.closed {
		p.expires = time.Now().Round(0).Add(keptAnswer)
		a.all[p.key] = p
	}
}

func (a *approvals) finishLocked(p *approval, v mfa.Verdict, answer kept) {
	if a.all[p.key] == p {
		delete(a.all, p.key)
	}
	select {
	case <-p.done:
		return
	default:
	}
	p.verdict, p.answer = v, answer
	close(p.done)
}

// known notes that Vault has told about p, and reports whether it had before.
func (a *approvals) known(p *approval) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := p.seen
	p.seen = true
	return before
}

// lost notes that Vault no longer knows p, and reports whether it ever did.
func (a *approvals) lost(p *approval) (seen bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p.gone = true
	return p.seen
}

// forget ends every wait and drops every wrapping token and answer.
func (a *approvals) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.all {
		a.finishLocked(p, mfa.Verdict{Outcome: mfa.Denied, Message: appCanceled}, kept{})
	}
	clear(a.all)
}

// close is forget, and nothing is remembered from then on.
func (a *approvals) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.forget()
}

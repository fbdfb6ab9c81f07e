package state

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
	// releasedFor is how long a released answer waits for an app that left in the
	// moment in which it came: Vault gives it out once.
	releasedFor = time.Minute
)

// An ApprovalKey names one request of one caller: no approval of another caller, and no
// answer to another request, is ever found under it.
type ApprovalKey struct {
	Caller      cache.Key // without a rule: a reload may rename that
	Fingerprint string    // of the request; see rule.Match
}

// An Approval is a request that Vault holds back, as long as Vault does.
type Approval struct {
	Key      ApprovalKey
	SentWith secret.Secret // the token that the request was sent with
	Wrapping secret.Secret // the wrapping token
	Accessor string        // of the wrapping token
	Held     Answer        // Vault's own answer, for a request that gives up
	Expires  time.Time     // wall clock
	Poller   chan struct{} // of one element, put there by the request that asks Vault
	Done     chan struct{} // closed when the fields below are final

	Verdict mfa.Verdict
	Answer  Answer
	Gone    bool // Vault no longer knows it: a new request is the way on

	// Guarded by the mutex of Approvals.
	users int  // requests that wait
	known bool // Vault has told about it
}

// Format implements fmt.Formatter.
func (p *Approval) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "approval of %q", p.Accessor) }

// Decided reports whether Done is closed.
func (p *Approval) Decided() bool {
	select {
	case <-p.Done:
		return true
	default:
		return false
	}
}

// An Answer is one of Vault's in memory; its body may be a secret.
type Answer struct {
	Status int
	Header http.Header
	Body   secret.Secret
}

// Format implements fmt.Formatter.
func (a Answer) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "answer of status %d", a.Status) }

// ReadAnswer reads resp and closes it. A body that is longer than limit is an error.
func ReadAnswer(resp *http.Response, limit int64) (Answer, error) {
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = fmt.Errorf("answer has more than %d bytes", limit)
	}
	return Answer{Status: resp.StatusCode, Header: resp.Header.Clone(), Body: secret.Secret(body)}, err
}

// Response returns the answer anew, once for each request that gets it.
func (a Answer) Response() *http.Response {
	body := a.Body.Reveal()
	header := a.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	return &http.Response{
		StatusCode: a.Status, Status: strconv.Itoa(a.Status) + " " + http.StatusText(a.Status),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header,
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}

// Approvals remembers the requests that wait for other people, across requests and
// reloads. The zero value is ready.
type Approvals struct {
	mu     sync.Mutex // never held while anything is waited for
	all    map[ApprovalKey]*Approval
	closed bool
}

// Find returns the approval that a request with this key waits for, nil when there is
// none. The caller must leave it.
func (a *Approvals) Find(k ApprovalKey) *Approval {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sweepLocked()
	p := a.all[k]
	if p == nil {
		return nil
	}
	p.users++
	if p.Decided() { // an answer whose app had left: the next request has it
		delete(a.all, k)
	}
	return p
}

// Add remembers p, or returns the approval that is there already under its key: two
// requests at once made two of them at Vault, and one is enough. The caller must leave
// it.
func (a *Approvals) Add(p *Approval) *Approval {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sweepLocked()
	if old := a.all[p.Key]; old != nil && p.Key.Fingerprint != "" {
		p = old
	} else if p.Key.Fingerprint != "" && len(a.all) < maxApprovals && !a.closed {
		a.putLocked(p)
	}
	p.users++
	return p
}

func (a *Approvals) putLocked(p *Approval) {
	if a.all == nil {
		a.all = make(map[ApprovalKey]*Approval)
	}
	a.all[p.Key] = p
}

// Leave ends the wait of one request.
func (a *Approvals) Leave(p *Approval) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p.users--
}

// Waits reports whether any request of a caller waits for an approval.
func (a *Approvals) Waits(caller cache.Key) bool {
	caller.Rule = ""
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sweepLocked()
	for k := range a.all {
		if k.Caller == caller {
			return true
		}
	}
	return false
}

// sweepLocked forgets what has expired. Requests that wait for it find out by Vault.
func (a *Approvals) sweepLocked() {
	now := time.Now().Round(0)
	for k, p := range a.all {
		if !now.Before(p.Expires) {
			delete(a.all, k)
		}
	}
}

// Finish decides p without an answer for every request that waits, unless that was done.
func (a *Approvals) Finish(p *Approval, v mfa.Verdict) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.finishLocked(p, v, Answer{})
}

// Release decides p with Vault's answer. That stays for a minute where app, the request
// that fetched it, is no longer there, and no other one waits; but not behind a lock, which has
// ended the wait: the next request would get that as its answer.
func (a *Approvals) Release(p *Approval, v mfa.Verdict, answer Answer, appLeft bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	locked := p.Decided()
	a.finishLocked(p, v, answer)
	if appLeft && !locked && p.users <= 1 && v.Outcome == mfa.Approved && p.Key.Fingerprint != "" && !a.closed {
		p.Expires = time.Now().Round(0).Add(releasedFor)
		a.putLocked(p)
	}
}

func (a *Approvals) finishLocked(p *Approval, v mfa.Verdict, answer Answer) {
	if a.all[p.Key] == p {
		delete(a.all, p.Key)
	}
	if !p.Decided() {
		p.Verdict, p.Answer = v, answer
		close(p.Done)
	}
}

// MarkKnown notes that Vault has told about p.
func (a *Approvals) MarkKnown(p *Approval) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p.known = true
}

// MarkGone notes that Vault no longer knows p, and reports whether it ever did.
func (a *Approvals) MarkGone(p *Approval) (known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p.Gone = true
	return p.known
}

// forget ends every wait and drops every wrapping token and answer.
func (a *Approvals) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.all {
		a.finishLocked(p, Canceled(), Answer{})
	}
	clear(a.all)
}

// close is forget, and nothing is remembered from then on.
func (a *Approvals) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.forget()
}

package state

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache"
)

// A Once is a step-up token that serves the requests that waited for it, and no other. The
// [Acquisitions] count them.
type Once struct {
	Token cache.Token
	// End is called when all of them have their answers, unless something hangs on the token;
	// and by a lock.
	End func()

	used   int
	kept   bool // something hangs on the token
	locked bool // it serves nothing more
}

// Take returns the token for one request that waited; ok is false where its uses are over.
func (a *Acquisitions) Take(q *Acquisition) (t cache.Token, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := q.Once
	if o.locked || o.Token.Uses > 0 && o.used >= o.Token.Uses {
		return cache.Token{}, false
	}
	o.used++
	return o.Token, true
}

// Leave is called once for each [Acquisitions.Join], by a request that no longer waits or has
// been served. kept says that something hangs on the token that it was served with.
func (a *Acquisitions) Leave(q *Acquisition, kept bool) {
	a.mu.Lock()
	q.waiting--
	end := false
	if q.over && q.Once != nil { // before that, it is the acquisition's own
		q.Once.kept = q.Once.kept || kept
		end = q.waiting == 0 && !q.Once.kept && !q.Once.locked
		if q.waiting == 0 {
			delete(a.serving, q)
		}
	}
	a.mu.Unlock()
	if end {
		q.Once.End()
	}
}

// A Keeper is a store of tokens.
type Keeper interface {
	Put(ctx context.Context, k cache.Key, t cache.Token) error
	Delete(ctx context.Context, k cache.Key) error
}

// Keep puts the token of a Once into a store. A lock before that has not found it there: then it
// is deleted again, and ok is false.
func (a *Acquisitions) Keep(ctx context.Context, q *Acquisition, to Keeper, e cache.Entry) (ok bool) {
	if err := to.Put(ctx, e.Key, e.Token); err == nil {
		a.mu.Lock()
		ok = !q.Once.locked
		a.mu.Unlock()
	}
	if !ok {
		_ = to.Delete(ctx, e.Key) // it is not served either way
	}
	return ok
}

// lockServedLocked returns those that serve now, which serve nothing more. The caller ends them.
func (a *Acquisitions) lockServedLocked(meant func(Key) bool) (all []*Once) {
	for q, k := range a.serving {
		if !q.Once.locked && meant(k) {
			q.Once.locked = true
			all = append(all, q.Once)
		}
	}
	return all
}

// Bounds of what an answer is looked at for. What does not fit is taken for something that
// hangs on the token.
const (
	maxHead = 512
	maxTail = 1024
)

// A watchedBody looks at an answer that goes by.
type watchedBody struct {
	io.ReadCloser
	head, tail []byte
	ended      bool
	done       func(kept bool)
}

// WatchAnswer calls done when the body of resp is closed: with true where something may hang
// on the token that it was got with. A lease, a token and what is wrapped end with that token
// in Vault, so the program would have got what is of no use.
func WatchAnswer(resp *http.Response, done func(kept bool)) {
	if resp.StatusCode >= http.StatusBadRequest || resp.StatusCode == http.StatusNoContent || resp.Body == nil {
		done(false)
		return
	}
	resp.Body = &watchedBody{ReadCloser: resp.Body, done: done}
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.head = append(b.head, p[:min(n, maxHead-len(b.head))]...)
	b.tail = append(b.tail, p[max(0, n-maxTail):n]...)
	b.tail = b.tail[max(0, len(b.tail)-maxTail):]
	b.ended = b.ended || err == io.EOF //nolint:errorlint // of a Reader
	return n, err
}

func (b *watchedBody) Close() error {
	err := b.ReadCloser.Close()
	if b.done != nil {
		b.done(!b.hangsNothing())
		b.done = nil
	}
	return err
}

// hangsNothing reports whether the answer is one of Vault's that says so (logical.HTTPResponse:
// the lease is its second field, wrapping and token are behind the data).
func (b *watchedBody) hangsNothing() bool {
	return b.ended && (len(b.head) == 0 ||
		bytes.Contains(b.head, []byte(`"lease_id":""`)) && bytes.Contains(b.tail, []byte(`"wrap_info":null`)) && bytes.Contains(b.tail, []byte(`"auth":null`)))
}

// BehindLook names, for [cache.Token.For], the request of a process behind its look at the mount
// of path.
func BehindLook(pid int, path string) string { return fmt.Sprintf("%d %s", pid, path) }

// IsBehindLook reports whether a request of a process for path is the one that a name means.
func IsBehindLook(name string, pid int, path string) bool {
	of, asked, ok := strings.Cut(name, " ")
	return ok && pid != 0 && of == strconv.Itoa(pid) && rule.IsLookAt(asked, path)
}

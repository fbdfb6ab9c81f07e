package stepup_test

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A queue is Vault's queue of held logins with one in it: a validate takes it
// out, and puts it back when it failed (vault/login_mfa.go). It notices only
// after a while that a push was dropped.
type queue struct {
	t       *testing.T
	notices time.Duration // from the drop of a push to its end
	deaf    bool          // a push goes on when it is dropped, and ends by thumb only
	right   string        // the code; "222222" when empty
	refuse  int           // status of a no; 0 means 403
	page    string        // what a gateway says instead of Vault's no

	mu      sync.Mutex
	out     bool // a validate has the login, or it is used up
	calls   int  // that have not returned
	thumb   chan string
	queries []string
}

func newQueue(t *testing.T) *queue { return &queue{t: t, thumb: make(chan string, 1)} }

func (q *queue) validate(ctx context.Context, payload map[string][]string) (*http.Response, error) {
	q.mu.Lock()
	if q.calls++; q.calls > 1 {
		q.t.Errorf("%d validates of one login at a time", q.calls)
	}
	code, isPush := payload["m1"], payload["m3"] != nil
	q.queries = append(q.queries, strings.Join(append(code, payload["m3"]...), "+"))
	known := !q.out
	q.out = true
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		q.calls--
		q.mu.Unlock()
	}()
	switch right := cmp.Or(q.right, "222222"); {
	case !known:
		return answer(400, unknownText), nil
	case isPush:
		return q.push(ctx)
	case code[0] == right:
		return answer(200, approvedText), nil
	}
	q.back(0)
	return answer(403, wrongText), nil
}

// push waits for the thumb; its word is "" for a yes, otherwise Vault's reason.
func (q *queue) push(ctx context.Context) (*http.Response, error) {
	dropped := ctx.Done()
	if q.deaf {
		dropped = nil
	}
	select {
	case <-dropped:
		q.back(q.notices)
		return nil, ctx.Err()
	case word := <-q.thumb:
		if word == "" {
			return answer(200, approvedText), nil
		}
		q.back(q.notices)
		if q.page != "" {
			return answer(q.refuse, q.page), nil
		}
		return answer(cmp.Or(q.refuse, 403), refusedText(word)), nil
	}
}

func (q *queue) back(after time.Duration) {
	put := func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.out = false
	}
	if after == 0 {
		put()
		return
	}
	time.AfterFunc(after, put)
}

// asks are those that were made of Vault, without the repetitions.
func (q *queue) asks() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Compact(slices.Clone(q.queries))
}

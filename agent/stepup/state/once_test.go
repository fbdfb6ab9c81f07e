package state_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/stepup/state"
	"github.com/vault-stepup/stepup/cache"
)

// The token ends with the last of those that waited, however they leave, and never while one of
// them has its answer to read.
func TestOnceEndsWithTheLast(t *testing.T) {
	t.Parallel()
	s := state.New()
	t.Cleanup(s.Close)
	ended, decide := 0, make(chan struct{})
	all, k := &s.Acquisitions, state.Key{Path: "x"}
	q, started := all.Join(k, func(_ context.Context, q *state.Acquisition) mfa.Verdict {
		<-decide
		q.Once = &state.Once{Token: cache.Token{Secret: "hvs.x", Uses: 2}, End: func() { ended++ }}
		return mfa.Verdict{Outcome: mfa.Approved}
	})
	second, _ := all.Join(k, nil)
	third, _ := all.Join(k, nil)
	left, _ := all.Join(k, nil)
	if !started || second != q || third != q || left != q {
		t.Fatal("not one acquisition")
	}
	all.Leave(left, false)
	close(decide)
	<-q.Done
	for i, want := range []bool{true, true, false} {
		if token, ok := all.Take(q); ok != want || ok != (token.Secret != "") {
			t.Errorf("take %d: %t", i, ok)
		}
	}
	for range 3 {
		if ended != 0 {
			t.Fatal("ended while it is in use")
		}
		all.Leave(q, false)
	}
	if ended != 1 {
		t.Errorf("ended %d times", ended)
	}
}

// An answer is judged by all of it, in whatever pieces it comes.
func TestWatchAnswer(t *testing.T) {
	t.Parallel()
	const secret = `{"request_id":"1","lease_id":"","data":{"a":"DATA"},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}`
	for name, tt := range map[string]struct {
		body   string
		status int
		read   int64 // -1 for all
		kept   bool
	}{
		"a secret":         {secret, 200, -1, false},
		"a large secret":   {strings.Replace(secret, "DATA", strings.Repeat("x", 1<<20), 1), 200, -1, false},
		"half of it":       {secret, 200, 90, true},
		"nothing":          {"", 200, -1, false},
		"no content":       {"", 204, 0, false},
		"a refusal":        {`{"errors":["permission denied"]}`, 403, 0, false},
		"a lease":          {strings.Replace(secret, `"lease_id":""`, `"lease_id":"database/creds/x/1"`, 1), 200, -1, true},
		"wrapped":          {strings.Replace(secret, `"wrap_info":null`, `"wrap_info":{"token":"hvs.w"}`, 1), 200, -1, true},
		"a token":          {strings.Replace(secret, `"auth":null`, `"auth":{"client_token":"hvs.y"}`, 1), 200, -1, true},
		"something packed": {"\x1f\x8b\x08", 200, -1, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var kept []bool
			resp := &http.Response{StatusCode: tt.status, Body: io.NopCloser(inPieces{strings.NewReader(tt.body)})}
			state.WatchAnswer(resp, func(k bool) { kept = append(kept, k) })
			read := io.Reader(resp.Body)
			if tt.read >= 0 {
				read = io.LimitReader(read, tt.read)
			}
			got, _ := io.ReadAll(read)
			_ = resp.Body.Close()
			_ = resp.Body.Close()
			if len(kept) != 1 || kept[0] != tt.kept || !strings.HasPrefix(tt.body, string(got)) {
				t.Errorf("told %v, want %t once", kept, tt.kept)
			}
		})
	}
}

// inPieces gives a few bytes at a time.
type inPieces struct{ io.Reader }

func (r inPieces) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(len(p), 7)]) }

// An answer that comes behind a lock is nobody's, and the lock is not the next request's answer.
func TestReleasedBehindALock(t *testing.T) {
	t.Parallel()
	for name, locked := range map[string]bool{"locked": true, "not locked": false} {
		s := state.New()
		t.Cleanup(s.Close)
		p := s.Approvals.Add(&state.Approval{
			Key: state.ApprovalKey{Fingerprint: "f"}, Expires: time.Now().Add(time.Hour), Done: make(chan struct{}),
		})
		if locked {
			s.Cancel()
		}
		s.Approvals.Release(p, mfa.Verdict{Outcome: mfa.Approved}, state.Answer{Status: 200}, true)
		if next := s.Approvals.Find(p.Key); (next == nil) != locked || !locked && next.Answer.Status != 200 {
			t.Errorf("%s: the next request finds %v", name, next)
		}
	}
}

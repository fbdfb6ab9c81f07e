package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vault-stepup/stepup/cache/secret"
)

// leases counts instead of listening.
type leases struct {
	mu    sync.Mutex
	asked []Wanted
	open  map[string]chan struct{}
	ended chan string
}

func newLeases() *leases {
	return &leases{open: make(map[string]chan struct{}), ended: make(chan string, 8)}
}

func (l *leases) Listeners() []Listener {
	return []Listener{{Network: "tcp", Address: "127.0.0.1:1", Vault: "corp"}}
}

func (l *leases) Lease(_ context.Context, w Wanted) (Lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch w.Vault {
	case "absent":
		return Lease{}, ErrNoVault
	case "peerless":
		return Lease{}, ErrNoPeer
	case "broken":
		return Lease{}, errors.New("no port is left for SECRET")
	}
	l.asked = append(l.asked, w)
	id := fmt.Sprint("id", len(l.asked))
	l.open[id] = make(chan struct{})
	return Lease{ID: id, Network: "tcp", Address: "127.0.0.1:2", Done: l.open[id]}, nil
}

func (l *leases) Release(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	done, ok := l.open[id]
	if ok {
		delete(l.open, id)
		close(done)
		l.ended <- id
	}
	return ok
}

func TestLease(t *testing.T) {
	t.Parallel()
	f := newFixture()
	l, c := f.leases, f.client(t)
	listeners, err := c.Listeners(t.Context())
	wantSame(t, l.Listeners(), listeners, err)
	ctx, leave := context.WithCancel(t.Context())
	lease, err := c.Lease(ctx, Wanted{Vault: "corp"})
	wantSame(t, Lease{ID: "id1", Network: "tcp", Address: "127.0.0.1:2"}, lease, err)
	second, err := c.Lease(t.Context(), Wanted{Network: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	leave() // the connection ends, and the listener with it
	if id := <-l.ended; id != "id1" {
		t.Errorf("%s ended", id)
	}
	if err := c.Release(t.Context(), second.ID); err != nil {
		t.Errorf("Release: %v", err)
	}
	if id := <-l.ended; id != "id2" {
		t.Errorf("%s ended", id)
	}
	if refusal, ok := errors.AsType[*Error](c.Release(t.Context(), second.ID)); !ok || refusal.Status != http.StatusNotFound {
		t.Error("released twice")
	}
	wantSame(t, []Wanted{{Vault: "corp"}, {Network: "unix"}}, l.asked, nil)
}

func TestLeaseRefused(t *testing.T) {
	t.Parallel()
	c := newFixture().client(t)
	for vault, want := range map[string]int{"absent": 404, "peerless": 403, "broken": 500} {
		_, err := c.Lease(t.Context(), Wanted{Vault: vault})
		refusal, ok := errors.AsType[*Error](err)
		if !ok || refusal.Status != want || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", vault, err)
		}
		if errors.Is(err, ErrNoVault) != (vault == "absent") {
			t.Errorf("%s is %v", vault, err)
		}
	}
}

func TestLeaseOfAnUnknownNetwork(t *testing.T) {
	t.Parallel()
	f := newFixture()
	l, c := f.leases, f.client(t)
	_, err := c.Lease(t.Context(), Wanted{Network: "udp"})
	if refusal, ok := errors.AsType[*Error](err); !ok || refusal.Status != http.StatusBadRequest || len(l.asked) > 0 {
		t.Errorf("%v, asked for %+v", err, l.asked)
	}
}

func TestObtain(t *testing.T) {
	t.Parallel()
	f := newFixture()
	c := f.client(t)
	full := Obtain{Rule: "deploy", Vault: "corp", Namespace: "ns", Token: secret.Secret(testCode)}
	for _, tt := range []struct {
		ask  Obtain
		want Obtained
		err  error
	}{
		{Obtain{Rule: "absent", Token: testCode}, Obtained{}, ErrNoRule},
		{Obtain{Rule: "elsewhere", Token: testCode}, Obtained{}, ErrNoRule},
		{Obtain{Rule: "header", Token: testCode}, Obtained{}, ErrHeaderGrant},
		{Obtain{Rule: "no", Token: testCode}, Obtained{Outcome: "denied", Message: "stepup: no"}, nil},
		{full, Obtained{Outcome: "approved"}, nil},
	} {
		got, err := c.Obtain(t.Context(), tt.ask)
		if got != tt.want || !errors.Is(err, tt.err) || got.OK() != (got.Outcome == "approved") {
			t.Errorf("%s: %+v, %v, want %+v, %v", tt.ask.Rule, got, err, tt.want, tt.err)
		}
	}
	if _, err := c.Obtain(t.Context(), Obtain{Rule: "broken", Token: testCode}); err == nil || strings.Contains(err.Error(), testCode) {
		t.Errorf("broken: %v", err)
	}
	if !slices.Contains(f.obtained, full) {
		t.Error("what was asked for has changed on the way")
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	c := newFixture().client(t)
	got, err := c.Explain(t.Context(), Explain{Path: "kv/x", Token: testCode})
	wantSame(t, Explanation{Path: "kv/x", Rules: []RuleReason{{Rule: Rule{Name: "r"}}}}.Complete(), got, err)
	for path, want := range map[string]error{"elsewhere": ErrNoVault, "/": ErrNoPath} {
		if _, err := c.Explain(t.Context(), Explain{Path: path}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

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
	l := newLeases()
	c := NewClient(agent(t, HandlerConfig{Prompts: newFakeBroker(), Leases: l}))
	if got, err := c.Listeners(t.Context()); err != nil || !cmp.Equal(got, l.Listeners()) {
		t.Errorf("Listeners: %v, %v", got, err)
	}
	ctx, leave := context.WithCancel(t.Context())
	lease, err := c.Lease(ctx, Wanted{Vault: "corp"})
	if err != nil || lease.ID != "id1" || lease.Network != "tcp" || lease.Address != "127.0.0.1:2" {
		t.Fatalf("Lease: %+v, %v", lease, err)
	}
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
	if !slices.Equal(l.asked, []Wanted{{Vault: "corp"}, {Network: "unix"}}) {
		t.Errorf("asked for %+v", l.asked)
	}
}

func TestLeaseRefused(t *testing.T) {
	t.Parallel()
	c := NewClient(agent(t, HandlerConfig{Prompts: newFakeBroker(), Leases: newLeases()}))
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
	l := newLeases()
	c := NewClient(agent(t, HandlerConfig{Prompts: newFakeBroker(), Leases: l}))
	_, err := c.Lease(t.Context(), Wanted{Network: "udp"})
	if refusal, ok := errors.AsType[*Error](err); !ok || refusal.Status != http.StatusBadRequest || len(l.asked) > 0 {
		t.Errorf("%v, asked for %+v", err, l.asked)
	}
}

func TestObtain(t *testing.T) {
	t.Parallel()
	var asked []Obtain
	c := NewClient(agent(t, HandlerConfig{
		Prompts: newFakeBroker(),
		Obtain: func(_ context.Context, o Obtain) (Obtained, error) {
			asked = append(asked, o)
			switch o.Rule {
			case "absent":
				return Obtained{}, ErrNoRule
			case "header":
				return Obtained{}, fmt.Errorf("rule: %w", ErrHeaderGrant)
			case "elsewhere":
				return Obtained{}, ErrNoVault
			case "broken":
				return Obtained{}, errors.New("with hvs.token")
			case "no":
				return Obtained{Outcome: "denied", Message: "stepup: no"}, nil
			}
			return Obtained{Outcome: "approved"}, nil
		},
	}))
	for rule, want := range map[string]error{"absent": ErrNoRule, "elsewhere": ErrNoRule, "header": ErrHeaderGrant} {
		if _, err := c.Obtain(t.Context(), Obtain{Rule: rule, Token: "hvs.token"}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", rule, err, want)
		}
	}
	if _, err := c.Obtain(t.Context(), Obtain{Rule: "broken", Token: "hvs.token"}); err == nil || strings.Contains(err.Error(), "hvs.token") {
		t.Errorf("broken: %v", err)
	}
	if got, err := c.Obtain(t.Context(), Obtain{Rule: "no", Token: "hvs.token"}); err != nil || got.OK() || got.Message != "stepup: no" {
		t.Errorf("no: %+v, %v", got, err)
	}
	full := Obtain{Rule: "deploy", Vault: "corp", Namespace: "ns", Token: secret.Secret("hvs.token")}
	if got, err := c.Obtain(t.Context(), full); err != nil || !got.OK() {
		t.Errorf("yes: %+v, %v", got, err)
	}
	if last := asked[len(asked)-1]; last != full {
		t.Error("what was asked for has changed on the way")
	}
}

// A body without a rule or token, or that is none, is refused without a word of it.
func TestObtainBadBody(t *testing.T) {
	t.Parallel()
	h := NewHandler(HandlerConfig{
		Prompts: newFakeBroker(), Leases: newLeases(),
		Obtain: func(context.Context, Obtain) (Obtained, error) {
			t.Error("called")
			return Obtained{}, nil
		},
	})
	for _, body := range []string{"", "hvs.token", `{"token":"hvs.token"}`, `{"rule":"r"}`, `{"rule":7,"token":"hvs.token"}`} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/stepup", strings.NewReader(body)))
		if w.Code != http.StatusBadRequest || strings.Contains(w.Body.String(), "hvs") {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/listeners", strings.NewReader("corp")))
	if w.Code != http.StatusBadRequest {
		t.Errorf("listeners: %d", w.Code)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/v1/listeners", nil))
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, POST" {
		t.Errorf("PUT: %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
}

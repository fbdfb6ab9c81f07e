package notice_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/notice"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/stepup/state"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/prompt"
)

// A screen is a desktop that shows uses.
type screen struct {
	prompt.Prompter
	mu    sync.Mutex
	shown []string      // "program: why"
	open  int           // on the screen now
	press chan struct{} // presses Lock on one that is open
	err   error         // of a desktop that shows nothing
}

func (s *screen) ShowUse(ctx context.Context, r prompt.Request) (bool, error) {
	s.mu.Lock()
	err := s.err
	s.shown = append(s.shown, r.Sanitized().Requester.ShortName()+": "+r.Message)
	s.open++
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.open--; s.mu.Unlock() }()
	if err != nil {
		return false, err
	}
	select {
	case <-s.press:
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// A fixture is a Watcher with a screen, in a bubble of synctest.
type fixture struct {
	*notice.Watcher
	t      *testing.T
	screen *screen
	locked []string
}

func newFixture(t *testing.T, m notice.Mode) *fixture {
	t.Helper()
	f := &fixture{t: t, screen: &screen{press: make(chan struct{})}}
	f.Watcher = notice.New(func(_ context.Context, rule string) { f.locked = append(f.locked, rule) }, slog.New(slog.DiscardHandler))
	f.Configure(m, []prompt.Named{{Name: "command"}, {Name: "notification", Prompter: f.screen}})
	return f
}

func key(rule string) cache.Key { return cache.Key{Vault: "corp https://vault", Rule: rule} }

// program is a process of an executable; claim is what it says of itself.
func program(exe, claim string) peer.Peer {
	return peer.Peer{UID: 1000, Exe: exe, Chain: []string{exe[strings.LastIndexByte(exe, '/')+1:]}, Claim: claim, Program: peer.Binding{ID: exe}}
}

func (f *fixture) use(rule string, p peer.Peer) {
	f.Used(key(rule), state.Use{Time: time.Now(), Operation: "read", Path: "kv/data/prod/db", Peer: p})
	synctest.Wait()
}

// want compares what was shown since the last time.
func (f *fixture) want(want ...string) {
	f.t.Helper()
	synctest.Wait()
	f.screen.mu.Lock()
	defer f.screen.mu.Unlock()
	got := f.screen.shown
	f.screen.shown = nil
	if diff := cmp.Diff(want, got); diff != "" {
		f.t.Error(diff)
	}
}

const other = "another program than the one that asked for it"

func TestFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, notice.First)
		defer f.Close()
		vault, terraform := program("/usr/bin/vault", "vault kv"), program("/usr/bin/terraform", "")
		deploy, other2 := program("/usr/bin/python3.11", "python3 deploy.py"), program("/usr/bin/python3.11", "python3 evil.py")
		f.Made(key("prod"), vault)
		f.use("prod", vault)
		f.use("prod", program("/usr/bin/vault", "vault write"))
		f.want()
		f.use("prod", terraform)
		f.want("/usr/bin/terraform: " + other)
		f.use("prod", terraform)
		f.use("prod", vault)
		f.want()
		time.Sleep(5 * time.Second)
		f.use("prod", deploy)
		time.Sleep(5 * time.Second)
		f.use("prod", other2)
		f.want("/usr/bin/python3.11: "+other, "/usr/bin/python3.11: "+other)

		time.Sleep(9 * time.Minute)
		f.use("prod", vault)
		f.want()
		time.Sleep(11 * time.Minute)
		f.use("prod", vault)
		f.want("/usr/bin/vault: the first use for 11 min")

		// A program that cannot be told is never the one that asked.
		f.Made(key("hidden"), peer.Peer{UID: -1})
		f.use("hidden", peer.Peer{UID: -1})
		f.want("an unknown program: " + other)

		// A token of the agent before, and the next one of the same rule.
		f.use("kept", vault)
		f.want("/usr/bin/vault: the first use since the agent started")
		time.Sleep(5 * time.Second)
		f.Made(key("prod"), terraform)
		f.use("prod", terraform)
		f.want()
		f.use("prod", vault)
		f.want("/usr/bin/vault: " + other)
	})
}

// A burst is one notification, and the one after it takes its place.
func TestEach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, notice.Each)
		defer f.Close()
		vault := program("/usr/bin/vault", "")
		f.Made(key("prod"), vault)
		f.use("prod", vault)
		f.want("/usr/bin/vault: ")
		for i := range 1000 {
			f.use("prod", program(fmt.Sprintf("/usr/bin/p%d", i%6), ""))
		}
		f.want()
		time.Sleep(4 * time.Second)
		f.want("/usr/bin/p0: " + other + "; 999 more uses since, also by /usr/bin/p1, /usr/bin/p2, /usr/bin/p3, others")
		f.screen.mu.Lock()
		if f.screen.open != 1 {
			t.Errorf("%d notifications are open", f.screen.open)
		}
		f.screen.mu.Unlock()
		f.Configure(notice.Never, []prompt.Named{{Prompter: f.screen}})
		time.Sleep(4 * time.Second)
		f.use("prod", program("/usr/bin/new", ""))
		f.Configure(notice.First, nil)
		f.use("prod", program("/usr/bin/newer", ""))
		f.want()
	})
}

func TestLock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, notice.First)
		defer f.Close()
		f.use("prod", program("/usr/bin/vault", ""))
		time.Sleep(5 * time.Minute)
		f.screen.press <- struct{}{}
		synctest.Wait()
		if diff := cmp.Diff([]string{"prod"}, f.locked); diff != "" {
			t.Error(diff)
		}
		f.want("/usr/bin/vault: the first use since the agent started")

		// Without a desktop nothing is shown, and nothing fails.
		f.screen.err = prompt.ErrUnavailable
		f.use("prod", program("/usr/bin/other", ""))
		time.Sleep(time.Minute)
		f.screen.err = nil
		f.use("prod", program("/usr/bin/third", ""))
		f.want("/usr/bin/other: "+other, "/usr/bin/third: "+other)
		time.Sleep(11 * time.Minute) // the notification is taken down by itself
		synctest.Wait()
		if f.screen.open != 0 {
			t.Error("it stays on the screen")
		}
	})
}

package state

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/cache"
)

func TestUses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var u Uses
		k := cache.Key{Rule: "deploy"}
		by := func(pid int) *peer.Lookup {
			return peer.NewLookup(func() peer.Peer { return peer.Peer{PID: pid} })
		}
		pid := func(want int) {
			t.Helper()
			time.Sleep(maxRest + minRest)
			synctest.Wait()
			if use, ok := u.Last(k); !ok || use.Peer.PID != want {
				t.Errorf("%+v %v, want pid %d", use, ok, want)
			}
		}
		if _, ok := u.Last(k); ok {
			t.Error("a use before the first")
		}
		u.Record(k, Use{}, by(1))
		pid(1)

		// A slow look at one process keeps no request waiting, and the program of an older use
		// never stands beside the time of a newer one.
		release := make(chan struct{})
		u.Record(k, Use{}, peer.NewLookup(func() peer.Peer { <-release; return peer.Peer{PID: 2} }))
		pid(0)
		u.Record(k, Use{}, by(3))
		close(release)
		pid(3)

		u.Made(k, peer.Peer{})
		if _, ok := u.Last(k); ok {
			t.Error("the uses of the token before are those of the new one")
		}
		for i := range maxUses + 10 {
			u.Record(cache.Key{Rule: fmt.Sprint(i)}, Use{}, by(i))
		}
		synctest.Wait()
		if len(u.last) > maxUses {
			t.Errorf("%d uses are remembered", len(u.last))
		}
		u.close()
		u.Record(k, Use{}, by(4))
		if _, ok := u.Last(k); ok {
			t.Error("a use after the end")
		}
	})
}

// An observed is what an Observer was told.
type observed []string

func (o *observed) Made(k cache.Key, by peer.Peer) {
	*o = append(*o, fmt.Sprint("made ", k.Rule, by.PID))
}
func (o *observed) Used(k cache.Key, u Use) {
	*o = append(*o, fmt.Sprint("used ", k.Rule, u.Peer.PID, u.Path))
}

// The use of one program does not hide behind those of another, however many these are.
func TestUsesOfEachConnectionAreObserved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got observed
		u := Uses{Observer: &got}
		k := cache.Key{Rule: "prod"}
		release := make(chan struct{})
		from := func(pid int, release chan struct{}) *peer.Lookup {
			return peer.NewLookup(func() peer.Peer { <-release; return peer.Peer{PID: pid} })
		}
		theirs, mine := from(1, release), from(2, release)
		u.Made(k, peer.Peer{PID: 1})
		u.Expect(theirs) // is no use
		u.Record(k, Use{Path: "a"}, theirs)
		synctest.Wait()
		u.Record(k, Use{Path: "secret"}, mine)
		for range 10000 {
			u.Record(k, Use{Path: "b"}, theirs)
			time.Sleep(time.Nanosecond)
		}
		close(release)
		time.Sleep(time.Second)
		synctest.Wait()
		want := observed{"made prod1", "used prod1a", "used prod2secret", "used prod1b"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}

		// What does not fit is of a program that is not known.
		got, release = nil, make(chan struct{})
		u.Record(k, Use{}, from(3, release))
		synctest.Wait()
		for range maxUses + 1 {
			u.Record(k, Use{}, from(4, release))
		}
		close(release)
		time.Sleep(time.Hour)
		synctest.Wait()
		if unknown := "used prod0"; len(got) != maxUses+2 || !slices.Contains(got, unknown) {
			t.Errorf("%d uses, %q is there: %t", len(got), unknown, slices.Contains(got, unknown))
		}
		u.close()
	})
}

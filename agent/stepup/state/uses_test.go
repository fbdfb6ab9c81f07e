package state

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/cache"
)

func TestUses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var u Uses
		k := cache.Key{Rule: "deploy"}
		by := func(pid int) func() peer.Peer { return func() peer.Peer { return peer.Peer{PID: pid} } }
		pid := func(want int) {
			t.Helper()
			synctest.Wait()
			if use, ok := u.Last(k); !ok || use.Peer.PID != want {
				t.Errorf("%+v %v, want pid %d", use, ok, want)
			}
		}
		if _, ok := u.Last(k); ok {
			t.Error("a use before the first")
		}
		u.Record(k, by(1))
		pid(1)

		// A slow look at one process keeps no request waiting, and the program of an older use
		// never stands beside the time of a newer one.
		release := make(chan struct{})
		u.Record(k, func() peer.Peer { <-release; return peer.Peer{PID: 2} })
		pid(0)
		u.Record(k, by(3))
		close(release)
		pid(3)

		u.Made(k)
		if _, ok := u.Last(k); ok {
			t.Error("the uses of the token before are those of the new one")
		}
		for i := range maxUses + 10 {
			u.Record(cache.Key{Rule: fmt.Sprint(i)}, by(i))
		}
		synctest.Wait()
		if len(u.last) > maxUses {
			t.Errorf("%d uses are remembered", len(u.last))
		}
		u.close()
		u.Record(k, by(4))
		if _, ok := u.Last(k); ok {
			t.Error("a use after the end")
		}
	})
}

// Package state remembers across requests, vaults and reloads: whose turn it is,
// which callers are alive or in a cool-down, which codes were used, which tokens are
// being acquired, and which requests share a first try or wait for an approval.
package state

import (
	"context"
	"crypto/rand"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/cache"
)

// A Key names what is decided one at a time: the requests of one caller under one
// rule, or the logins on one path.
type Key struct {
	cache.Key
	Path string // of a login, which has no caller yet
}

// A State is all of it. New makes one. It owns a goroutine for each acquisition and
// each shared try, which Close ends.
type State struct {
	Turns        Turns
	Cooldowns    Cooldowns
	Codes        Codes
	Denials      Denials
	Callers      Callers
	Origins      Origins
	Acquisitions Acquisitions
	Tries        Tries
	Approvals    Approvals
	Uses         Uses
}

// New returns an empty State.
func New() *State {
	s := &State{}
	_, _ = rand.Read(s.Codes.key[:]) // never fails (crypto/rand)
	s.Acquisitions.newContextLocked()
	s.Acquisitions.serving = make(map[*Acquisition]Key)
	s.Tries.living, s.Tries.end = context.WithCancel(context.Background())
	return s
}

// Canceled is the verdict for a request that a lock, or the agent's end, has ended.
func Canceled() mfa.Verdict {
	return mfa.Verdict{Outcome: mfa.Denied, Message: "stepup: the question was cancelled by stepup lock or because the agent stopped; run it again"}
}

// Cancel ends every acquisition and waits for it, and forgets the requests that wait
// for an approval. A token that was made by then is in the cache. Acquisitions that
// start later are neither ended nor waited for.
func (s *State) Cancel() {
	s.Approvals.forget()
	s.Acquisitions.cancelAll()
}

// Close ends every acquisition and shared try, waits for them and refuses new ones.
func (s *State) Close() {
	s.Acquisitions.close()
	s.Tries.close()
	s.Approvals.close()
	s.Cancel()
	s.Acquisitions.all.Wait()
	s.Tries.running.Wait()
	s.Uses.close()
}

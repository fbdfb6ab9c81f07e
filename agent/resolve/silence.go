package resolve

import (
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/cache"
)

// After this many denials within this time a rule falls silent: somebody, or
// some program, asks again and again, and a person who is worn down says yes.
const (
	fatigueDenials = 3
	fatigueWindow  = 10 * time.Minute
)

// A Silence says for whom nobody is asked at all.
type Silence struct {
	Detached bool                 // programs without a terminal or graphical session
	Never    func(peer.Peer) bool // nil means nobody else
}

// silent returns the verdict for a request about which nobody is asked: batch
// jobs, and rules that were denied too often. attended reports whether somebody
// has attached a terminal, which ends the second.
func (s *stepUp) silent() (mfa.Verdict, bool) {
	silence := s.config.Silence
	switch {
	case s.quiet:
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: appQuietRule}, true
	case silence.Detached && s.peer().Detached:
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: appDetached}, true
	case silence.Never != nil && silence.Never(s.peer()):
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: appNeverAsked}, true
	case s.config.Ledger.tired(s.topic()):
		return mfa.Verdict{Outcome: mfa.Cooldown, Message: appTired}, true
	}
	return mfa.Verdict{}, false
}

// topic is what a person has had enough of: a rule whoever asks, or the logins
// on a path. Those that are asked about unproven are one, whatever their path and
// namespace: a program that has no login can make up another one each time.
func (s *stepUp) topic() turnKey {
	k := turnKey{Key: cache.Key{Vault: s.key.Vault, Rule: s.rule}}
	switch {
	case s.unproven:
		k.Path = "unproven logins"
	case s.rule == "" || s.open:
		k.Path = s.request.Path
	}
	return k
}

// tire counts a denial.
func (l *Ledger) tire(topic turnKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	recent := l.denials[topic][:0]
	for _, at := range l.denials[topic] {
		if now.Sub(at) < fatigueWindow {
			recent = append(recent, at)
		}
	}
	l.denials[topic] = append(recent, now)
	if len(l.denials[topic]) >= fatigueDenials {
		l.silent[topic] = true
	}
}

func (l *Ledger) tired(topic turnKey) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.silent[topic]
}

// Wake ends the silence of every rule: a person has shown up and answers again.
func (l *Ledger) Wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.silent)
	clear(l.denials)
}

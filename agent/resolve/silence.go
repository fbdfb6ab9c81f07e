package resolve

import (
	"context"
	"errors"
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

// covers reports whether p may be one of those, although it is not known which
// process it is. Otherwise a program would end the silence about itself by hiding:
// a capability of its file is enough for that, and so is one call to the kernel.
func (s Silence) covers(p func() peer.Peer) bool {
	return (s.Detached || s.Never != nil) && p().PID == 0
}

// silent returns the verdict for a request about which nobody is asked: batch
// jobs, and rules that were denied too often. attended reports whether somebody
// has attached a terminal, which ends the second.
func (s *stepUp) silent() (mfa.Verdict, bool) {
	silence := s.config.Silence
	switch {
	case s.quiet:
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: appQuietRule}, true
	case silence.covers(s.peer):
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: appUnidentified}, true
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

// errTired: the topic of a question has fallen silent.
var errTired = errors.New("denied too often")

// asking notes a question that is open until done is called, or until its topic
// falls silent: then end is called with errTired. A program may ask as many callers
// at once, and whoever said no three times must not have to say it to each of them.
func (l *Ledger) asking(topic turnKey, end context.CancelCauseFunc) (done func()) {
	q := &openQuestion{end}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.silent[topic] {
		end(errTired)
		return func() {}
	}
	if l.asked[topic] == nil {
		l.asked[topic] = make(map[*openQuestion]bool)
	}
	l.asked[topic][q] = true
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if delete(l.asked[topic], q); len(l.asked[topic]) == 0 {
			delete(l.asked, topic)
		}
	}
}

// An openQuestion is one that a person sees, or will see.
type openQuestion struct{ end context.CancelCauseFunc }

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
		for q := range l.asked[topic] {
			q.end(errTired)
		}
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

package stepup

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/cache"
)

// After this many denials and unanswered questions within this time a rule falls
// silent: a program that asks again and again wears a person down, who then says yes.
const (
	fatigueDenials = 3
	// fatigueQuestions bounds the questions of a topic in that time without a factor that
	// Vault accepted: a program can leave, or answer with junk, instead of being denied.
	fatigueQuestions = 12
	fatigueWindow    = 10 * time.Minute
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
// jobs, and rules that were denied too often.
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
	case s.rule == "":
		// Logins by password do not tell capitals in a name (userpass, ldap).
		k.Path = strings.ToLower(s.request.Path)
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
	l.questions[topic] = append(recent(l.questions[topic]), time.Now())
	if len(l.questions[topic]) > fatigueQuestions {
		l.silent[topic] = true
	}
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

// tire counts a denial or an unanswered question.
func (l *Ledger) tire(topic turnKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.denials[topic] = append(recent(l.denials[topic]), time.Now())
	if len(l.denials[topic]) >= fatigueDenials {
		l.silent[topic] = true
		for q := range l.asked[topic] {
			q.end(errTired)
		}
	}
}

// recent are the times that count still.
func recent(all []time.Time) []time.Time {
	return slices.DeleteFunc(all, func(at time.Time) bool { return time.Since(at) >= fatigueWindow })
}

func (l *Ledger) tired(topic turnKey) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.silent[topic]
}

// Wake ends the silence of every rule: Vault has accepted a factor that a person gave.
// An answer alone does not, as any program can send one.
func (l *Ledger) Wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unmuteLocked()
}

// Resume is Wake by an explicit command, and returns how many topics were silent. Any
// program of the user can give it: so it counts once in fatigueWindow, which bounds
// what a loop can have asked. Before that, wait says how long.
func (l *Ledger) Resume() (ended int, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.silent) == 0 {
		return 0, 0 // and the denials so far go on counting
	}
	if left := fatigueWindow - time.Since(l.resumed); !l.resumed.IsZero() && left > 0 {
		return 0, left
	}
	ended, l.resumed = len(l.silent), time.Now()
	l.unmuteLocked()
	return ended, 0
}

// Silenced are the rules and logins that nobody is asked about any more, sorted.
func (l *Ledger) Silenced() (topics []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for topic := range l.silent {
		topics = append(topics, cmp.Or(topic.Rule, topic.Path))
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

func (l *Ledger) unmuteLocked() {
	clear(l.silent)
	clear(l.denials)
	clear(l.questions)
}

// Package prompttest has a prompter that follows a script, and the suite that
// every prompter must pass.
package prompttest

import (
	"context"
	"slices"
	"sync"

	"github.com/vault-stepup/stepup/prompt"
)

// A Reply is how a script ends one question: it answers, fails, or waits.
type Reply struct {
	Answer string
	Err    error
	Wait   bool // blocks until the question is withdrawn
}

// A Script is a prompter that gives its replies in order and records the requests. When
// the replies are used up it cannot ask. A push takes no reply: it is
// recorded and blocks until it is decided.
type Script struct {
	reply func(context.Context, prompt.Request) (string, error) // instead of replies, if not nil

	mu      sync.Mutex
	replies []Reply
	seen    []prompt.Request
	causes  []error
}

var _ prompt.Prompter = (*Script)(nil)

// NewScript returns a script of replies.
func NewScript(replies ...Reply) *Script { return &Script{replies: replies} }

// Answers returns a script that gives these answers.
func Answers(answers ...string) *Script {
	s := &Script{}
	for _, a := range answers {
		s.replies = append(s.replies, Reply{Answer: a})
	}
	return s
}

// Func returns a script that calls f for every request, pushes too.
func Func(f func(context.Context, prompt.Request) (string, error)) *Script {
	return &Script{reply: f}
}

// Prompt implements [prompt.Prompter].
func (s *Script) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	reply := s.next(r)
	if s.reply != nil {
		return s.reply(ctx, r)
	}
	if !reply.Wait {
		return reply.Answer, reply.Err
	}
	<-ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.causes = append(s.causes, context.Cause(ctx))
	return "", ctx.Err()
}

func (s *Script) next(r prompt.Request) Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, r)
	if r.Kind == prompt.Push {
		return Reply{Wait: true}
	}
	if len(s.replies) == 0 {
		return Reply{Err: prompt.ErrUnavailable}
	}
	reply := s.replies[0]
	s.replies = s.replies[1:]
	return reply
}

// Requests are the requests so far, as the person would have seen them.
func (s *Script) Requests() []prompt.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// Withdrawn are the reasons for which waiting questions were taken back.
func (s *Script) Withdrawn() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.causes)
}

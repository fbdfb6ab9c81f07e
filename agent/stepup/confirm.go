package stepup

import (
	"context"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/prompt"
)

// confirmPush asks before Vault is made to push m, where the configuration wants
// that. Who gets pushes out of the blue learns to approve them, and one of them
// will be a thief's: the question says who wants it, before any phone rings. An
// error is the person's no, or that nobody can be asked; nothing may be sent then.
// A method that takes a passcode, and the zero one, need no question.
func (s *stepUp) confirmPush(ctx context.Context, m mfa.Method) error {
	if !s.config.ConfirmPush || m.UsesPasscode || id(m) == "" {
		return nil
	}
	_, err := s.ask(ctx, prompt.Request{Kind: prompt.Confirm, Method: m.Label(), MethodType: m.Type, Message: askToPush(m.Label())})
	return err
}

// confirmed is confirmPush when it is this request's turn, with the verdict and
// the cool-down of a no. app is the context of the request.
func (s *stepUp) confirmed(app context.Context, m mfa.Method) mfa.Verdict {
	s.record(audit.Challenge, 0)
	ctx, cancel := context.WithDeadline(app, s.deadline)
	defer cancel()
	leave, v := s.enter(app, ctx)
	if leave == nil {
		return v
	}
	defer leave()
	if err := s.confirmPush(ctx, m); err != nil {
		return s.conclude(app, verdict(app, err))
	}
	return mfa.Verdict{}
}

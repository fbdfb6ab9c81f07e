package stepup

import (
	"context"
	"errors"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/prompt"
)

// verdict says what an error of a prompt means for the app. app is the context
// of its request.
func verdict(app context.Context, err error) mfa.Verdict {
	switch {
	case app.Err() != nil:
		// The app left: nobody reads this, and it is nobody's no.
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: appCanceled}
	case errors.Is(err, errTired):
		return mfa.Verdict{Outcome: mfa.Cooldown, Message: appTired}
	case errors.Is(err, prompt.ErrDenied):
		return mfa.Verdict{Outcome: mfa.Denied, Message: appDenied}
	case errors.Is(err, prompt.ErrDismissed):
		return mfa.Verdict{Outcome: mfa.Denied, Message: appDismissed}
	case errors.Is(err, prompt.ErrCanceled):
		return mfa.Verdict{Outcome: mfa.Denied, Message: appCanceled}
	case errors.Is(err, prompt.ErrUnseen):
		return mfa.Verdict{Outcome: mfa.Timeout, Message: appUnseen}
	case errors.Is(err, prompt.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return mfa.Verdict{Outcome: mfa.Timeout, Message: appTimeout}
	case errors.Is(err, prompt.ErrBusy):
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: appBusy, NoPrompt: true}
	case errors.Is(err, prompt.ErrUnavailable):
		return mfa.Verdict{Outcome: mfa.Unavailable, Message: appNoPrompt, NoPrompt: true}
	}
	return mfa.Verdict{Outcome: mfa.Unavailable, Message: vaultFailed(err)}
}

// conclude writes the decision down and starts the cool-down that follows a no.
// An app that left decided nothing.
func (s *stepUp) conclude(app context.Context, v mfa.Verdict) mfa.Verdict {
	if app.Err() != nil {
		return v
	}
	event := map[mfa.Outcome]audit.Event{
		mfa.Approved: audit.Approved,
		mfa.Denied:   audit.Denied,
		mfa.Timeout:  audit.Timeout,
		mfa.Rejected: audit.Rejected,
	}[v.Outcome]
	s.config.Log.Info("step-up decided", "outcome", v.Outcome, "rule", s.rule, "vault", s.config.VaultName, "path", s.request.Path)
	switch v.Outcome {
	case mfa.Approved:
		s.config.Ledger.warm(s.turn())
		if s.answered {
			s.config.Ledger.Wake()
		}
	case mfa.Denied, mfa.Timeout, mfa.Rejected:
		// Who sets up an authenticator is at it, and the next try waits for that.
		if v.Message != appEnrolling && v.Message != appUnseen {
			s.config.Ledger.cool(s.turn(), v, s.config.Cooldown)
		}
	}
	if tiring(v) {
		s.config.Ledger.tire(s.topic())
	}
	if event != "" {
		s.record(event, time.Since(s.started))
	}
	return v
}

// tiring reports whether a decision counts towards the silence: a no, and a question
// or push that nobody answered. What was withdrawn, or never shown, does not.
func tiring(v mfa.Verdict) bool {
	switch v.Outcome {
	case mfa.Denied:
		return v.Message != appCanceled
	case mfa.Timeout:
		return v.Message == appTimeout || v.Message == appPushRefused
	}
	return false
}

// turn is what this request is decided one at a time with, and what a no holds for. The
// namespace is no part of it: community Vault takes no notice of X-Vault-Namespace, so
// another one with each request would go past the queue and the cool-down.
func (s *stepUp) turn() turnKey {
	if s.unproven {
		return s.topic()
	}
	k := turnKey{Key: s.key}
	k.Namespace = ""
	if s.rule == "" || s.open {
		// Not by process: whoever asks can start another one.
		k.Path = s.request.Path
	}
	return k
}

// inTurn lets decide ask the person when it is this request's turn, within the
// time that a prompt has, and concludes. app is the context of the request.
func (s *stepUp) inTurn(app context.Context, decide func(context.Context) mfa.Verdict) mfa.Verdict {
	s.record(audit.Challenge, 0)
	ctx, cancel := context.WithDeadline(app, s.deadline)
	defer cancel()
	leave, v := s.enter(app, ctx)
	if leave == nil {
		return v
	}
	defer leave()
	return s.conclude(app, decide(ctx))
}

// enter waits for this request's turn. When it ends with a verdict, that is
// the answer: somebody said no meanwhile, or lately.
func (s *stepUp) enter(app, ctx context.Context) (leave func(), v mfa.Verdict) {
	if err := s.config.Ledger.enter(ctx, s.turn()); err != nil {
		// Nobody saw a prompt for this one, so it starts no cool-down.
		v = verdict(app, err)
		if v.Outcome == mfa.Timeout {
			v.Message = appWaited
		}
		return nil, v
	}
	leave = func() { s.config.Ledger.leave(s.turn()) }
	if v, ok := s.config.Ledger.cooled(s.turn(), s.started); ok {
		leave()
		return nil, v
	}
	return leave, mfa.Verdict{}
}

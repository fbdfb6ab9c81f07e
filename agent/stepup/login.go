package stepup

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/prompt"
)

// A heldLogin is one held login on its way through prompts and validations.
type heldLogin struct {
	*factor.StepUp
	config    *Config
	exchange  factor.Exchange // its methods are one for each constraint, in their order
	challenge mfa.Challenge
	// pushDropped: Vault may still hold on to the login, for a push that we gave up.
	pushDropped bool
	// relogin is nil where the program logs in itself.
	relogin relogin
}

func newHeldLogin(config *Config, s *factor.StepUp, c mfa.Challenge) *heldLogin {
	l := &heldLogin{StepUp: s, config: config, challenge: c}
	l.exchange = factor.Exchange{StepUp: s, Confirmed: true, Send: l.validate, Read: l.read}
	return l
}

func (l *heldLogin) run(ctx context.Context) mfa.Verdict {
	if code, push, ok := l.codeOrPush(); ok {
		l.exchange.Methods = []mfa.Method{code}
		return l.askDuringPush(ctx, push)
	}
	for _, c := range l.challenge.Constraints {
		m, err := l.choose(ctx, c)
		if err != nil {
			return factor.VerdictOf(ctx, err)
		}
		l.exchange.Methods = append(l.exchange.Methods, m)
	}
	if v, done := l.enrol(ctx); done {
		return v
	}
	return l.exchange.Run(ctx, factor.Question{})
}

// validate sends one credential for each constraint.
func (l *heldLogin) validate(ctx context.Context, f factor.Factors) (*http.Response, error) {
	payload := make(map[string][]string)
	for _, m := range f.Methods {
		payload[m.ID] = []string{f.Codes[m.ID]} // one empty string starts a push
	}
	if l.pushDropped {
		return l.validateWhenFree(ctx, payload)
	}
	resp, err := l.validateInRace(ctx, payload)
	if l.relogin == nil || factor.ID(f.Push) != "" {
		return resp, err // another validate would push again
	}
	return l.afterLeader(ctx, payload, resp, err)
}

// read reads Vault's answer to a validate.
func (l *heldLogin) read(r factor.Reply, f factor.Factors) (v mfa.Verdict, again string) {
	if r.OK() {
		l.ForgetWrong(f)
		return factor.Approved(), ""
	}
	return l.ClassifyValidate(r, f)
}

// choose picks the method for one constraint: the only one, the one whose code is there, the
// preferred one, or the one that the person names, which also confirms a push.
func (l *heldLogin) choose(ctx context.Context, c mfa.Constraint) (mfa.Method, error) {
	usable := l.usable(c)
	if len(usable) == 1 {
		return usable[0], l.ConfirmPush(ctx, usable[0])
	}
	if i := slices.IndexFunc(usable, l.Prefilled.Fits); i >= 0 {
		return usable[i], nil
	}
	if m, ok := l.preferred(usable); ok {
		return m, l.ConfirmPush(ctx, m)
	}
	choices := labels(usable)
	answer, err := l.Ask(ctx, prompt.Request{
		Kind: prompt.Choose, Method: c.Name, Choices: choices, Message: "choose the method to confirm with",
	})
	if err != nil {
		return mfa.Method{}, err
	}
	if i := slices.Index(choices, answer); i >= 0 {
		return usable[i], nil
	}
	return mfa.Method{}, prompt.ErrAnswer
}

// usable are the methods that meet a constraint, with what an mfa_method block says about
// each. What Vault sends counts more.
func (l *heldLogin) usable(c mfa.Constraint) []mfa.Method {
	all := slices.Clone(c.Any)
	for i, m := range all {
		declared, ok := l.Config.Methods[m.Name]
		if !ok || m.Name == "" {
			if declared, ok = l.Config.Methods[m.ID]; !ok || m.ID == "" {
				continue
			}
		}
		all[i].Digits = declared.Digits
		if declared.OrPush && declared.Type == m.Type {
			// Whatever uses_passcode says, Vault hands Duo a passcode that it gets, and pushes
			// without one (vault/login_mfa.go, validateDuo).
			all[i].UsesPasscode, all[i].OrPush = true, true
		}
	}
	return all
}

// preferred is the first of the configured preferences that is among methods. A preference is
// the name of an mfa_method block, or Vault's own name or ID.
func (l *heldLogin) preferred(methods []mfa.Method) (mfa.Method, bool) {
	for _, name := range l.config.Prefer {
		i := slices.IndexFunc(methods, func(m mfa.Method) bool { return name == m.Name || name == m.ID })
		if i >= 0 {
			return methods[i], true
		}
	}
	return mfa.Method{}, false
}

// labels names methods for a choice, so that no two read alike.
func labels(methods []mfa.Method) []string {
	all := make([]string, 0, len(methods))
	for _, m := range methods {
		label := m.Label()
		if m.Type != "" && !strings.EqualFold(label, m.Type) {
			label += " (" + m.Type + ")"
		}
		if slices.Contains(all, label) {
			label += " " + m.ID
		}
		all = append(all, label)
	}
	return all
}

// codeOrPush finds the login that one question can meet in two ways, by a code that is typed
// or by a push that is approved: its only constraint offers just one of each, and no code is
// there yet. With a second constraint, the push that gives way to a code would burn the
// other's code or push again, so there the person chooses first. They also choose where the
// code is not typed, where Vault does not let go of the push, and where pushes are confirmed.
func (l *heldLogin) codeOrPush() (code, push mfa.Method, ok bool) {
	if len(l.challenge.Constraints) != 1 || l.Config.ConfirmPush {
		return code, push, false
	}
	methods := l.usable(l.challenge.Constraints[0])
	if _, preferred := l.preferred(methods); preferred || len(methods) != 2 || slices.ContainsFunc(methods, l.Prefilled.Fits) {
		return code, push, false
	}
	code, push = methods[0], methods[1]
	if push.UsesPasscode {
		code, push = push, code
	}
	typed := code.UsesPasscode && !code.OrPush && !code.SelfEnrollment && !l.Config.FromSeed[code.Name] && len(l.Config.Commands[code.Name]) == 0
	return code, push, typed && push.CanBeDropped()
}

// startPush starts the push; decided is called once Vault has answered.
func (l *heldLogin) startPush(ctx context.Context, push mfa.Method, decided context.CancelCauseFunc) *factor.PushAttempt {
	validate := func(ctx context.Context) (*http.Response, error) {
		return factor.BufferBody(l.config.Vault.Validate(ctx, l.challenge, map[string][]string{push.ID: {""}}))
	}
	return factor.StartPush(ctx, validate, func(r factor.Reply) func() {
		r.Notified = true // by the question
		result := prompt.Decided{Message: factor.PushResult(r, nil)}
		if r.OK() {
			result.Message = factor.ResultApproved
		}
		return func() { decided(result) }
	})
}

// askDuringPush pushes and asks for a code at the same time; the first answer decides. Vault
// looks at one of them only: it takes a held login out while it validates, so the push is
// dropped before the code is sent.
func (l *heldLogin) askDuringPush(ctx context.Context, push mfa.Method) mfa.Verdict {
	asking, decided := context.WithCancelCause(ctx)
	defer decided(nil)
	p := l.startPush(ctx, push, decided)
	defer p.End()
	v, ok := l.Try(factor.Question{Push: push}, func(q factor.Question) (mfa.Verdict, string) {
		f, again, err := l.Passcodes(asking, l.exchange.Methods, q)
		switch {
		case again != "":
			return mfa.Verdict{}, again // the push goes on
		case err == nil:
			return l.sendCode(ctx, p, f, q), ""
		case errors.Is(err, context.Canceled) && errors.As(context.Cause(asking), new(prompt.Decided)):
			return l.afterPush(ctx, p.Reply(true), q), ""
		case errors.Is(err, prompt.ErrUnavailable), errors.Is(err, prompt.ErrBusy), errors.Is(err, prompt.ErrDismissed):
			return l.pushOnly(ctx, push, p), ""
		}
		return factor.VerdictOf(ctx, err), ""
	})
	if !ok {
		return factor.RejectedCodes()
	}
	return v
}

// sendCode drops the push and sends the code that was typed meanwhile.
func (l *heldLogin) sendCode(ctx context.Context, p *factor.PushAttempt, f factor.Factors, q factor.Question) mfa.Verdict {
	p.End()
	if r := p.Reply(true); r.OK() {
		return l.approvedByPush(r, q.Push) // that was faster than the code
	}
	l.pushDropped = true
	v, again := l.exchange.Deliver(ctx, f)
	if again == "" {
		return v
	}
	return l.exchange.Run(ctx, factor.Question{Attempt: q.Attempt + 1, Reason: again})
}

func (l *heldLogin) approvedByPush(r factor.Reply, push mfa.Method) mfa.Verdict {
	l.Method, l.Answered = push.Label(), true
	l.exchange.Keep(r.Response)
	return factor.Approved()
}

// afterPush goes on after Vault's answer to the push: where it is a denial, or the phone was
// not reached at all, the code is still a way.
func (l *heldLogin) afterPush(ctx context.Context, r factor.Reply, q factor.Question) mfa.Verdict {
	if r.OK() {
		return l.approvedByPush(r, q.Push)
	}
	v, _ := l.exchange.Take(ctx, r, factor.Factors{})
	switch kind := r.Failure().Kind; {
	case r.DroppedByProxy():
		q.Reason, l.pushDropped = "something between here and vault ended the wait for your phone: type a code instead", true
	case kind == mfa.Unreachable:
		q.Reason = "vault cannot reach the service that pushes: type a code instead"
	case kind == mfa.NotEnrolled:
		q.Reason = "there is no phone for the push: type a code instead"
	case kind == mfa.PushTimeout:
		q.Reason = "nobody approved the push in time: type a code instead"
	case r.Response != nil && r.Response.StatusCode == http.StatusForbidden:
		q.Reason = "the push was refused on the phone: type a code instead"
	default:
		return v
	}
	q.Push = mfa.Method{}
	return l.exchange.Run(ctx, q)
}

// pushOnly waits for the phone alone, where no code can be typed or the person has closed the
// question: the phone is then the way to ask them.
func (l *heldLogin) pushOnly(ctx context.Context, push mfa.Method, p *factor.PushAttempt) mfa.Verdict {
	l.exchange.Methods = []mfa.Method{push}
	v, _ := l.exchange.Take(ctx, l.FollowPush(ctx, factor.PushOf(push), p), factor.Factors{Methods: l.exchange.Methods})
	return v // without a code there is nothing to ask again
}

// How long Vault may take to notice that a push was dropped. It looks once a second
// (vault/login_mfa.go, validateOkta), and until then it does not know the login.
const (
	freePause    = 25 * time.Millisecond
	maxFreePause = time.Second
	freeWithin   = 5 * time.Second
)

// validateWhenFree validates when the held login is back in Vault's queue. "invalid request
// ID" comes before Vault looks at any code, so sending the same one again uses none up.
func (l *heldLogin) validateWhenFree(ctx context.Context, payload map[string][]string) (*http.Response, error) {
	until := time.Now().Add(freeWithin)
	if l.Deadline.After(until) {
		until = l.Deadline
	}
	for pause := freePause; ; pause = min(2*pause, maxFreePause) {
		resp, err := l.config.Vault.Validate(ctx, l.challenge, payload)
		r := factor.Reply{Response: resp, Err: err}
		if r.Failure().Kind != mfa.Expired || time.Now().Add(pause).After(until) {
			return resp, err
		}
		_ = resp.Body.Close()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

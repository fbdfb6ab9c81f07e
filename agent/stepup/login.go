package stepup

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/prompt"
)

// Login implements relay.Resolver: it meets every constraint of a held login by
// one method each and sends them all with one sys/mfa/validate. After a wrong
// code the same request ID is used again; Vault keeps it for five minutes.
func (r *Resolver) Login(ctx context.Context, c mfa.Challenge, q rule.Request) (*http.Response, mfa.Verdict) {
	s := r.begin(ctx, q, "", "")
	if v, ok := s.silent(); ok {
		return nil, v
	}
	l := &login{stepUp: s, app: ctx, challenge: c}
	v := s.inTurn(ctx, l.run)
	return l.last, v
}

// A login is one held login on its way through prompts and validations.
type login struct {
	*stepUp
	app       context.Context // of the login's request, without the prompt's deadline
	challenge mfa.Challenge
	methods   []mfa.Method // one for each constraint, in their order
	typed     bool         // a code was among what was sent last
	rang      bool         // a push was dropped: Vault may still hold on to the login
	newest
}

func (l *login) run(ctx context.Context) mfa.Verdict {
	if code, push, ok := l.contest(); ok {
		l.methods = []mfa.Method{code}
		return l.race(ctx, push)
	}
	for _, c := range l.challenge.Constraints {
		m, err := l.choose(ctx, c)
		if err != nil {
			return verdict(l.app, err)
		}
		l.methods = append(l.methods, m)
	}
	if v, done := l.enrol(ctx); done {
		return v
	}
	return l.try(ctx, question{attempt: 1})
}

// try asks for the codes of the chosen methods and validates them, until Vault
// has decided or the attempts from q on are used up.
func (l *login) try(ctx context.Context, q question) mfa.Verdict {
	for ; q.attempt <= l.attempts; q.attempt++ {
		codes, again, err := l.passcodes(ctx, l.methods, q)
		if err != nil {
			return verdict(l.app, err)
		}
		if again != "" {
			q.reason = again
			continue
		}
		var v mfa.Verdict
		if v, q.reason = l.send(codes); v.Outcome != "" {
			return v
		}
	}
	return mfa.Verdict{Outcome: mfa.Rejected, Message: appRejected}
}

// send validates codes and reads the answer.
func (l *login) send(codes map[string]string) (v mfa.Verdict, reason string) {
	if l.rang {
		return l.read(l.whenFree(codes))
	}
	return l.read(l.validate(codes))
}

// read takes Vault's answer to a validate: the verdict, or without one the reason
// to ask again.
func (l *login) read(c call) (v mfa.Verdict, reason string) {
	switch {
	case c.cut():
		if c.resp != nil {
			l.replace(c.resp)
		}
		return mfa.Verdict{Outcome: mfa.Timeout, Message: appCut}, ""
	case c.err != nil:
		return verdict(l.app, c.err), ""
	}
	l.replace(c.resp)
	if c.resp.StatusCode/100 == 2 {
		return mfa.Verdict{Outcome: mfa.Approved}, ""
	}
	reason, v = l.refusal(c)
	return v, reason
}

// refusal reads what Vault has against the factors: the reason to ask again,
// or the verdict when asking again is no use.
func (l *login) refusal(c call) (reason string, final mfa.Verdict) {
	f := mfa.ReadFailure(keepBody(c.resp))
	status := c.resp.StatusCode
	switch {
	case f.Kind == mfa.Expired:
		return "", mfa.Verdict{Outcome: mfa.Unavailable, Message: appExpired}
	case f.Kind == mfa.NotEnrolled && !l.typed:
		return "", mfa.Verdict{Outcome: mfa.Rejected, Message: appNoPhone}
	case f.Kind == mfa.NotEnrolled:
		return "", mfa.Verdict{Outcome: mfa.Rejected, Message: appNotEnrolled}
	case f.Kind == mfa.Unreachable:
		return "", mfa.Verdict{Outcome: mfa.Unavailable, Message: providerDown(f.Brief())}
	case f.Kind == mfa.PushDenied:
		return "", mfa.Verdict{Outcome: mfa.Denied, Message: appPushRefused}
	case f.Kind == mfa.PushTimeout:
		return "", mfa.Verdict{Outcome: mfa.Timeout, Message: appPushRefused}
	case status != http.StatusForbidden && status != http.StatusBadRequest:
		return "", mfa.Verdict{Outcome: mfa.Unavailable, Message: vaultAnswered(status)}
	case !l.typed:
		// Asking again would push again.
		return "", mfa.Verdict{Outcome: mfa.Denied, Message: appPushRefused}
	case f.Kind == mfa.RateLimited && time.Until(l.deadline) < f.Wait:
		return "", mfa.Verdict{Outcome: mfa.Rejected, Message: rejectedWait(f.Wait)}
	case f.Kind == mfa.RateLimited:
		return tooManyCodes(f.Wait), final
	case f.Kind == mfa.WrongCode:
		return wrongCode, final
	}
	return vaultSays(f.Brief()), final
}

// validate sends one credential for each constraint. From here only the app
// ends the wait: a push blocks for as long as Vault lets it.
func (l *login) validate(codes map[string]string) call {
	payload := make(map[string][]string)
	var push mfa.Method
	l.typed = false
	for _, m := range l.methods {
		if codes[m.ID] == "" {
			push = m
		} else {
			l.typed = true
		}
		payload[m.ID] = []string{codes[m.ID]} // one empty string starts a push
	}
	do := func(ctx context.Context) (*http.Response, error) {
		return l.config.Vault.Validate(ctx, l.challenge, payload)
	}
	if push.ID == "" {
		resp, err := do(l.app)
		return call{resp: resp, err: err}
	}
	return l.watch(l.app, push, do)
}

// choose picks the method for one constraint: the only one, the one whose code is
// there, the preferred one, or the one that the person names, which is their word for a push, too.
func (l *login) choose(ctx context.Context, c mfa.Constraint) (mfa.Method, error) {
	usable := l.usable(c)
	if len(usable) == 1 {
		return usable[0], l.confirmPush(ctx, usable[0])
	}
	if i := slices.IndexFunc(usable, l.early.fits); i >= 0 {
		return usable[i], nil
	}
	if m, ok := l.preferred(usable); ok {
		return m, l.confirmPush(ctx, m)
	}
	choices := labels(usable)
	answer, err := l.ask(ctx, prompt.Request{
		Kind: prompt.Choose, Method: c.Name, Choices: choices, Message: chooseMethod,
	})
	if err != nil {
		return mfa.Method{}, err
	}
	if i := slices.Index(choices, answer); i >= 0 {
		return usable[i], nil
	}
	return mfa.Method{}, prompt.ErrAnswer
}

// usable are the methods that meet a constraint.
func (l *login) usable(c mfa.Constraint) []mfa.Method {
	all := make([]mfa.Method, 0, len(c.Any))
	for _, m := range c.Any {
		all = append(all, l.declared(m))
	}
	return all
}

// preferred is the first of the configured preferences that is among methods. A
// preference is the name of an mfa_method block, or Vault's own name or ID.
func (l *login) preferred(methods []mfa.Method) (mfa.Method, bool) {
	for _, name := range l.config.Prefer {
		i := slices.IndexFunc(methods, func(m mfa.Method) bool { return name == m.Name || name == m.ID })
		if i >= 0 {
			return methods[i], true
		}
	}
	return mfa.Method{}, false
}

// declared adds what an mfa_method block says about a method. Vault's word
// counts for everything that it sends.
func (l *login) declared(m mfa.Method) mfa.Method {
	for _, name := range []string{m.Name, m.ID} {
		if d, ok := l.config.Methods[name]; ok && name != "" {
			m.Digits = d.Digits
			if d.OrPush && d.Type == m.Type {
				// Whatever uses_passcode says, Vault hands Duo a passcode that it gets, and
				// pushes without one (vault/login_mfa.go, validateDuo).
				m.UsesPasscode, m.OrPush = true, true
			}
			break
		}
	}
	return m
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

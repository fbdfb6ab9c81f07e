package resolve

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
	newest
}

func (l *login) run(ctx context.Context) mfa.Verdict {
	for _, c := range l.challenge.Constraints {
		m, err := l.choose(ctx, c)
		if err != nil {
			return verdict(l.app, err)
		}
		l.methods = append(l.methods, m)
	}
	reason := ""
	for attempt := 1; attempt <= l.attempts; attempt++ {
		codes, again, err := l.passcodes(ctx, l.methods, question{attempt: attempt, reason: reason})
		if err != nil {
			return verdict(l.app, err)
		}
		if again != "" {
			reason = again
			continue
		}
		c := l.validate(codes)
		if c.err != nil {
			return verdict(l.app, c.err)
		}
		l.replace(c.resp)
		if c.resp.StatusCode/100 == 2 {
			return mfa.Verdict{Outcome: mfa.Approved}
		}
		var final mfa.Verdict
		if reason, final = l.refusal(c); final.Outcome != "" {
			return final
		}
	}
	return mfa.Verdict{Outcome: mfa.Rejected, Message: appRejected}
}

// refusal reads what Vault has against the factors: the reason to ask again,
// or the verdict when asking again is no use.
func (l *login) refusal(c call) (reason string, final mfa.Verdict) {
	f := mfa.ReadFailure(keepBody(c.resp))
	status := c.resp.StatusCode
	switch {
	case f.Kind == mfa.Expired:
		return "", mfa.Verdict{Outcome: mfa.Unavailable, Message: appExpired}
	case f.Kind == mfa.NotEnrolled:
		return "", mfa.Verdict{Outcome: mfa.Rejected, Message: appNotEnrolled}
	case f.Kind == mfa.Unreachable:
		return "", mfa.Verdict{Outcome: mfa.Unavailable, Message: providerDown(f.Reason)}
	case f.Kind == mfa.RateLimited && time.Until(l.deadline) < f.Wait:
		return "", mfa.Verdict{Outcome: mfa.Rejected, Message: rejectedWait(f.Wait)}
	case f.Kind == mfa.RateLimited:
		return tooManyCodes(f.Wait), final
	case f.Kind == mfa.PushDenied:
		return "", mfa.Verdict{Outcome: mfa.Denied, Message: appPushRefused}
	case f.Kind == mfa.PushTimeout:
		return "", mfa.Verdict{Outcome: mfa.Timeout, Message: appPushRefused}
	case status != http.StatusForbidden && status != http.StatusBadRequest:
		return "", mfa.Verdict{Outcome: mfa.Unavailable, Message: vaultAnswered(status)}
	case !usePasscode(l.methods):
		return "", mfa.Verdict{Outcome: mfa.Denied, Message: appPushRefused}
	case f.Kind == mfa.WrongCode:
		return wrongCode, final
	}
	return vaultSays(f.Reason), final
}

// validate sends one credential for each constraint. From here only the app
// ends the wait: a push blocks for as long as Vault lets it.
func (l *login) validate(codes map[string]string) call {
	payload := make(map[string][]string)
	var push mfa.Method
	for _, m := range l.methods {
		if !m.UsesPasscode {
			push = m
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

// choose picks the method for one constraint: the only one, the preferred one,
// or the one that the person names.
func (l *login) choose(ctx context.Context, c mfa.Constraint) (mfa.Method, error) {
	usable := make([]mfa.Method, 0, len(c.Any))
	for _, m := range c.Any {
		usable = append(usable, l.declared(m))
	}
	if len(usable) == 1 {
		return usable[0], nil
	}
	for _, name := range l.config.Prefer {
		// A preference is the name of an mfa_method block, or Vault's own name or ID.
		i := slices.IndexFunc(usable, func(m mfa.Method) bool { return name == m.Name || name == m.ID })
		if i >= 0 {
			return usable[i], nil
		}
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

// declared adds what an mfa_method block says about a method. Vault's word
// counts for everything that it sends.
func (l *login) declared(m mfa.Method) mfa.Method {
	for _, name := range []string{m.Name, m.ID} {
		if d, ok := l.config.Methods[name]; ok && name != "" {
			m.Digits = d.Digits
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

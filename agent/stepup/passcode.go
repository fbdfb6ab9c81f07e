package stepup

import (
	"context"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// A question is what is known when a person is asked for codes.
type question struct {
	attempt int
	reason  string     // why it is asked again; ""
	push    mfa.Method // rings meanwhile, and answers as well; zero for none
}

// message is what a question for a code says beside it.
func (q question) message() string {
	if q.push.ID == "" {
		return q.reason
	}
	return orApprove(q.reason, q.push)
}

// passcodes asks for a code of every method that has one, once for each, and
// marks them as sent. The codes come by the id of their method; one of "" is the
// person's wish for a push instead. again is the
// reason to ask anew: a code cannot be right, and sending it would cost one of
// the person's tries at Vault.
func (s *stepUp) passcodes(ctx context.Context, methods []mfa.Method, q question) (codes map[string]string, again string, err error) {
	codes = make(map[string]string)
	spent := make(map[string]string)
	for _, m := range methods {
		if _, have := codes[id(m)]; have || !m.UsesPasscode {
			continue
		}
		code, err := s.passcode(ctx, m, q)
		if err != nil {
			return nil, "", err
		}
		if m.OrPush && strings.EqualFold(code, pushWord) {
			codes[id(m)] = ""
			continue
		}
		if m.Digits > 0 && !isDigits(code, m.Digits) {
			return nil, wrongDigits(m.Digits), nil
		}
		codes[id(m)], spent[s.spentAs(m)] = code, code
	}
	if !s.config.Ledger.spend(spent) {
		return nil, codeSentBefore, nil
	}
	return codes, "", nil
}

// An earlyCode came with the password, before Vault asked for it. It answers one
// question for its method, and is dropped where Vault asks none.
type earlyCode struct {
	method string        // name of the mfa_method block, which is the method's name or ID
	code   secret.Secret // "" for none
}

// fits reports whether the code is one of m. Who has yet to set up an authenticator
// cannot have one.
func (e earlyCode) fits(m mfa.Method) bool {
	return e.code != "" && m.UsesPasscode && !m.SelfEnrollment && (e.method == m.Name || e.method == m.ID)
}

func (s *stepUp) passcode(ctx context.Context, m mfa.Method, q question) (string, error) {
	if s.early.fits(m) {
		code := s.early.code.Reveal()
		s.early = earlyCode{}
		s.method = m.Label() // for the audit log: nobody is asked about it
		return code, nil
	}
	if s.config.FromSeed[m.Name] {
		return s.fromSeed(ctx, m, q)
	}
	if code, ok := s.fromCommand(ctx, m, q); ok {
		return code, nil
	}
	switch {
	case m.OrPush:
		q.reason = orPush(q.reason)
	case q.reason == "" && s.config.Ledger.usedLately(s.spentAs(m)):
		q.reason = waitForNext
	}
	return s.ask(ctx, prompt.Request{
		Kind: prompt.Passcode, Method: m.Label(), MethodType: m.Type, Digits: m.Digits,
		Attempt: q.attempt, Message: q.message(),
	})
}

// fromCommand lets the method's own program give the first code. Whatever goes
// wrong with it, the person is asked; so are they for every further code, since
// the program would print the same again.
func (s *stepUp) fromCommand(ctx context.Context, m mfa.Method, q question) (string, bool) {
	command := s.config.Commands[m.Name]
	if len(command) == 0 || q.attempt > 1 {
		return "", false
	}
	code, err := s.config.Secrets.Run(ctx, command)
	clean := strings.Join(strings.Fields(code.Reveal()), "")
	switch {
	case err != nil:
		s.config.Log.Warn("passcode command failed, asking instead", "method", m.Name, "error", err)
	case m.Digits > 0 && !isDigits(clean, m.Digits):
		s.config.Log.Warn("passcode command printed something else than a code, asking instead", "method", m.Name)
	case s.config.Ledger.sent(s.spentAs(m), clean):
		s.config.Log.Info("passcode command printed a code that was sent already, asking instead", "method", m.Name)
	default:
		s.method = m.Label() // for the audit log: nobody is asked about it
		return clean, true
	}
	return "", false
}

// fromSeed makes the code itself, from a seed that the person has given to
// stepup. It does so only after a yes: a program that could have a code made
// without one would need no person at all.
func (s *stepUp) fromSeed(ctx context.Context, m mfa.Method, q question) (string, error) {
	if q.reason == "" {
		q.reason = confirmSeed
	}
	_, err := s.ask(ctx, prompt.Request{
		Kind: prompt.Confirm, Method: m.Label(), MethodType: m.Type, Attempt: q.attempt, Message: q.reason,
	})
	for err == nil {
		var code secret.Secret
		var left time.Duration
		code, left, err = s.config.Secrets.Code(ctx, m.Name, time.Now())
		if err != nil || !s.config.Ledger.sent(s.spentAs(m), code.Reveal()) {
			return code.Reveal(), err
		}
		// This period's code was used: the next one is a moment away.
		select {
		case <-time.After(left):
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return "", err
}

// spentAs names a method across the vaults that share the ledger.
func (s *stepUp) spentAs(m mfa.Method) string { return s.key.Vault + "/" + id(m) }

// id is what Vault knows a method by.
func id(m mfa.Method) string {
	if m.ID != "" {
		return m.ID
	}
	return m.Name
}

func isDigits(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

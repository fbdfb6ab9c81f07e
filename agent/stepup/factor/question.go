package factor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// PushWord is what a person types in the place of a code, to get a push.
const PushWord = "push"

const (
	waitForNext    = "the last code was used a moment ago: wait for the next one"
	mayBeSpent     = "vault refused the other code, and may have spent this one: wait for the next one"
	codeSentBefore = "that code was sent already: wait for the next one"
)

// A Question is what is known when a person is asked for codes.
type Question struct {
	Attempt int        // from 1
	Reason  string     // why it is asked again; ""
	Push    mfa.Method // runs meanwhile, and answers as well; zero for none

	again bool // the person was asked for this code already, and has mistyped it
}

// message is what a question for a code says beside it.
func (q Question) message() string {
	if q.Push.ID == "" {
		return q.Reason
	}
	name := q.Push.Label()
	if q.Push.Type != "" && !strings.EqualFold(name, q.Push.Type) {
		name += ", " + q.Push.Type
	}
	reason := q.Reason
	if reason == "" {
		reason = "type a code"
	}
	return fmt.Sprintf("%s, or approve the push on your phone (%s)", reason, name)
}

// Try calls try until that decides, at most as often as a person may be asked. A try that
// ends with a reason is followed by another one, whose question says it. ok is false when
// the attempts are used up.
func (s *StepUp) Try(q Question, try func(Question) (v mfa.Verdict, again string)) (v mfa.Verdict, ok bool) {
	for q.Attempt = max(q.Attempt, 1); q.Attempt <= s.Config.Attempts; q.Attempt++ {
		v, again := try(q)
		if again == "" {
			return v, true
		}
		q.Reason = again
	}
	return mfa.Verdict{}, false
}

// Factors are what is sent to Vault at once.
type Factors struct {
	Methods []mfa.Method
	Codes   map[string]string // by [ID] of the method; "" is a push
	Push    mfa.Method        // the method that pushes then; the zero one for nothing
}

// Typed reports whether a passcode is among them.
func (f Factors) Typed() bool {
	return slices.ContainsFunc(f.Methods, func(m mfa.Method) bool { return f.Codes[ID(m)] != "" })
}

// Credentials are one for each method: its code, or its bare name for a push.
func (f Factors) Credentials() []mfa.Credential {
	all := make([]mfa.Credential, 0, len(f.Methods))
	for _, m := range f.Methods {
		all = append(all, m.Credential(f.Codes[ID(m)]))
	}
	return all
}

// ID is what Vault knows a method by.
func ID(m mfa.Method) string {
	if m.ID != "" {
		return m.ID
	}
	return m.Name
}

// HasPasscode reports whether a code is asked for by any of methods.
func HasPasscode(methods []mfa.Method) bool {
	return slices.ContainsFunc(methods, func(m mfa.Method) bool { return m.UsesPasscode })
}

// ConfirmPush asks before Vault is made to push m, where the configuration wants that. A
// person who gets pushes out of the blue learns to approve them, and one of them will be a
// thief's: the question says which program wants it, before anything is pushed. An error is
// the person's denial, or that no question can be shown; nothing may be sent then. A method
// that takes a passcode, and the zero one, need no question.
func (s *StepUp) ConfirmPush(ctx context.Context, m mfa.Method) error {
	if m.UsesPasscode || ID(m) == "" {
		return nil
	}
	return s.Confirm(ctx, m, fmt.Sprintf("a yes sends a push to your phone (%s)", m.Label()))
}

// Confirm asks message before something is sent that may push m, where the configuration
// wants that. The error is as of ConfirmPush.
func (s *StepUp) Confirm(ctx context.Context, m mfa.Method, message string) error {
	if !s.Config.ConfirmPush {
		return nil
	}
	s.Challenge()
	_, err := s.Ask(ctx, prompt.Request{Kind: prompt.Confirm, Method: m.Label(), MethodType: m.Type, Message: message})
	return err
}

// Factors asks whether to push, and for the codes, of all methods. push is what Vault may
// push besides. again is the reason to ask anew.
func (s *StepUp) Factors(ctx context.Context, methods []mfa.Method, push mfa.Method, q Question) (f Factors, again string, err error) {
	for _, m := range methods {
		if !m.UsesPasscode {
			push = m
		}
	}
	if err := s.ConfirmPush(ctx, push); err != nil {
		return Factors{}, "", err
	}
	f, again, err = s.Passcodes(ctx, methods, q)
	if err == nil && again == "" && ID(f.Push) == "" && !push.UsesPasscode { // else the person chose a code
		f.Push = push
	}
	return f, again, err
}

// Passcodes asks for a code of every method that has one, once for each, and marks them as
// used. A code may be the wish for a push instead. again is the reason to ask anew: a code
// cannot be right, and sending it would cost one of the person's tries at Vault.
func (s *StepUp) Passcodes(ctx context.Context, methods []mfa.Method, q Question) (f Factors, again string, err error) {
	f = Factors{Methods: methods, Codes: make(map[string]string)}
	used := make(map[string]string)
	for _, m := range methods {
		if !m.UsesPasscode {
			f.Push = m
			continue
		}
		if _, have := f.Codes[ID(m)]; have {
			continue
		}
		code, again, err := s.Sendable(m, q, func(q Question) (string, error) { return s.passcode(ctx, m, q) })
		if err != nil || again != "" {
			return Factors{}, again, err
		}
		if m.OrPush && strings.EqualFold(code, PushWord) {
			f.Codes[ID(m)], f.Push = "", m
			continue
		}
		f.Codes[ID(m)], used[s.usedKey(m)] = code, code
	}
	if !s.Config.State.Codes.MarkUsed(used) {
		return Factors{}, codeSentBefore, nil
	}
	return f, "", nil
}

// maxMistakes is how often a request asks again for a code that cannot be sent, before that
// costs an attempt: a prompt command that prints junk must come to an end.
const maxMistakes = 3

// Sendable asks, by ask, for a code of m that may be sent. One of another length, and one that
// was sent already, cost no attempt: Vault has not seen them. again is the reason to ask anew
// when there were too many of those.
func (s *StepUp) Sendable(m mfa.Method, q Question, ask func(Question) (string, error)) (code, again string, err error) {
	for {
		code, err = ask(q)
		switch {
		case err != nil, m.OrPush && strings.EqualFold(code, PushWord):
			return code, "", err
		case !fitsDigits(m, code):
			again = wrongDigits(m)
		case s.Config.State.Codes.WasUsed(s.usedKey(m), code):
			again = codeSentBefore
		default:
			return code, "", nil
		}
		if s.mistakes++; s.mistakes > maxMistakes {
			return "", again, nil
		}
		q.Reason, q.again = again, true
	}
}

// MarkUsed marks one code of m as used, and returns the reason to ask anew if it was.
func (s *StepUp) MarkUsed(m mfa.Method, code string) (again string) {
	if s.Config.State.Codes.MarkUsed(map[string]string{s.usedKey(m): code}) {
		return ""
	}
	return codeSentBefore
}

// usedKey names a method across the vaults that share the state.
func (s *StepUp) usedKey(m mfa.Method) string { return s.Key.Vault + "/" + ID(m) }

// A CodeWith is a code that came with the password, before Vault asked for it. It answers
// one question for its method, and is dropped where Vault asks none.
type CodeWith struct {
	Method string        // name of the mfa_method block, which is the method's name or ID
	Code   secret.Secret // "" for none
}

// Fits reports whether the code is one of m. A person who has yet to set up an
// authenticator cannot have one.
func (c CodeWith) Fits(m mfa.Method) bool {
	return c.Code != "" && m.UsesPasscode && !m.SelfEnrollment && (c.Method == m.Name || c.Method == m.ID)
}

func (s *StepUp) passcode(ctx context.Context, m mfa.Method, q Question) (string, error) {
	if s.Prefilled.Fits(m) {
		code := s.Prefilled.Code.Reveal()
		s.Prefilled = CodeWith{}
		s.Method = m.Label() // for the audit log: it is asked about nothing
		return code, nil
	}
	if s.Config.FromSeed[m.Name] {
		return s.fromSeed(ctx, m, q)
	}
	if len(s.Config.Commands[m.Name]) > 0 && q.Attempt <= 1 && !q.again {
		code, problem, err := s.fromCommand(ctx, m, q)
		if err != nil || problem == "" {
			return code, err
		}
		q.Reason = problem
	}
	var next time.Time
	if q.Reason == WrongCode && s.Refused != nil && !slices.Contains(s.Refused, m.ID) {
		q.Reason = mayBeSpent
	}
	if m.OrPush {
		q.Reason = orPush(q.Reason)
	} else if next = s.Config.State.Codes.NextAt(s.usedKey(m)); !next.IsZero() && q.Reason == "" {
		q.Reason = waitForNext
	}
	return s.Ask(ctx, prompt.Request{
		Kind: prompt.Passcode, Method: m.Label(), MethodType: m.Type, Digits: m.Digits,
		Attempt: q.Attempt, Message: q.message(), NotBefore: next,
	})
}

// orPush is what a question says for a method that can do both.
func orPush(reason string) string {
	if reason == "" {
		return "type a code, or the word push to get a push on your phone"
	}
	reason, wait, ok := strings.Cut(reason, ": wait for") // not for a code of Duo's
	if ok && wait != "" {
		return reason + ": type another one, or the word push to get a push on your phone"
	}
	return reason + "; type a code, or the word push to get a push on your phone"
}

// fromCommand lets the method's own program give the first code. Where that fails, and for
// every further code, the person is asked: the program would print the same one again.
// problem says then why. An answer with neither is the person's.
func (s *StepUp) fromCommand(ctx context.Context, m mfa.Method, q Question) (code, problem string, err error) {
	program := Program{Command: s.Config.Commands[m.Name], Wants: "a code of " + m.Label()}
	program.Run = func(ctx context.Context, said func(string)) (secret.Secret, error) {
		return s.Config.Coder.Run(ctx, program.Command, said)
	}
	printed, typed, err := s.AskBeside(ctx, program, prompt.Request{Kind: prompt.Passcode, Method: m.Label(), MethodType: m.Type, Digits: m.Digits, Attempt: q.Attempt})
	if typed {
		return printed.Reveal(), "", err
	}
	clean := strings.Join(strings.Fields(printed.Reveal()), "")
	switch exit, failed := errors.AsType[*ExitError](err); {
	case failed:
		s.Config.Log.Warn("passcode command failed, asking instead", "method", m.Name, "error", err)
		return "", exit.Reason(), nil
	case err != nil:
		return "", "", err
	case clean == "", !fitsDigits(m, clean):
		s.Config.Log.Warn("passcode command printed something else than a code, asking instead", "method", m.Name)
		return "", program.name() + " printed something else than a code: type one", nil
	case s.Config.State.Codes.WasUsed(s.usedKey(m), clean):
		s.Config.Log.Info("passcode command printed a code that was sent already, asking instead", "method", m.Name)
		return "", program.name() + " gave a code that was sent already: wait for the next one", nil
	}
	s.Method = m.Label() // for the audit log: it may be asked about nothing
	return clean, "", nil
}

// AskBeside runs p, and asks the person by q when p takes longer than a moment: they read
// what waits for them, may say no to it, and may give the answer themselves. What comes first
// counts. typed tells whether it is theirs. The program has the time of the question, and is
// over when AskBeside returns; its own failure is an *ExitError.
func (s *StepUp) AskBeside(app context.Context, p Program, q prompt.Request) (answer secret.Secret, typed bool, err error) {
	run := startProgram(app, p)
	defer run.stop()
	quick := time.NewTimer(NotifyAfter)
	defer quick.Stop()
	select {
	case <-run.done:
		return run.result()
	case <-quick.C:
	}
	for shown := 0; ; shown++ {
		select {
		case run.line = <-run.lines:
		default:
		}
		q.Message = p.message(run.line)
		asking, withdraw := context.WithCancelCause(app)
		watched := run.watch(asking, withdraw, shown < maxRewordings)
		said, err := s.Ask(asking, q)
		withdraw(nil)
		<-watched
		switch cause := context.Cause(asking); {
		case err == nil:
			return secret.Secret(said), true, nil
		case app.Err() == nil && errors.As(cause, new(prompt.Decided)) && isDone(run.done):
			return run.result()
		case app.Err() == nil && errors.As(cause, new(prompt.Decided)):
			continue
		case errors.Is(err, prompt.ErrUnavailable), errors.Is(err, prompt.ErrBusy), errors.Is(err, prompt.ErrDismissed):
			return run.wait(app, s.Deadline)
		}
		return "", false, err
	}
}

// fromSeed makes the code itself, from a seed that the person has given to stepup. It does
// so only after a yes: a program that could have a code made without one would need no
// person at all.
func (s *StepUp) fromSeed(ctx context.Context, m mfa.Method, q Question) (string, error) {
	if q.Reason == "" {
		q.Reason = "confirm to use the code that stepup makes from its kept seed"
	}
	ctx, cancel := s.UntilDeadline(ctx)
	defer cancel()
	_, err := s.Ask(ctx, prompt.Request{
		Kind: prompt.Confirm, Method: m.Label(), MethodType: m.Type, Attempt: q.Attempt, Message: q.Reason,
	})
	for err == nil {
		var code secret.Secret
		var left time.Duration
		code, left, err = s.Config.Coder.Code(ctx, m.Name, time.Now())
		if err != nil || !s.Config.State.Codes.WasUsed(s.usedKey(m), code.Reveal()) {
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

// fitsDigits reports whether a code of m may look like that. A login names methods by their
// IDs and without a length; Vault makes TOTP codes of two lengths only (vault/login_mfa.go:
// "digits can only be 6 or 8").
func fitsDigits(m mfa.Method, code string) bool {
	if m.Digits > 0 {
		return hasDigits(code, m.Digits)
	}
	return m.Type != "totp" || m.ID == "" || hasDigits(code, 6) || hasDigits(code, 8)
}

// hasDigits reports whether s is n digits.
func hasDigits(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789") == ""
}

// wrongDigits is the reason to ask again for a code of another length.
func wrongDigits(m mfa.Method) string {
	if m.Digits == 0 {
		return "a code of this method has 6 or 8 digits"
	}
	return fmt.Sprintf("a code of this method has %d digits", m.Digits)
}

// ClassifyValidate is Classify for an answer of sys/mfa/validate, whose status counts, too:
// only a 400 or 403 is about the factors, and a push that was refused at once must not be
// pushed again.
func (s *StepUp) ClassifyValidate(r Reply, sent Factors) (v mfa.Verdict, again string) {
	f, status, typed := r.Failure(), r.Response.StatusCode, sent.Typed()
	about := status == http.StatusForbidden || status == http.StatusBadRequest
	s.Refused = f.RefusedMethods()
	if !slices.ContainsFunc(sent.Methods, func(m mfa.Method) bool { return slices.Contains(s.Refused, m.ID) }) {
		s.Refused = nil // no word about what was sent
	}
	s.countWrong(&f, sent)
	v, again, ok := Classify(f, typed, s.Deadline)
	switch {
	case v.Outcome != "" && f.Kind != mfa.RateLimited:
		return v, ""
	case !about:
		return BadStatus(status), ""
	case !typed:
		return RefusedPush(), ""
	case ok:
		return v, again
	}
	return mfa.Verdict{}, vaultSays(f.Brief())
}

// ReadSinglePhase reads Vault's answer to a login with its factors.
func (s *StepUp) ReadSinglePhase(r Reply, f Factors, noReplay bool) (v mfa.Verdict, again string) {
	if r.Response.StatusCode != http.StatusForbidden || !mfa.RefusedInLogin(PeekBody(r.Response)) {
		// Any other refusal is not about the factor, and accepts none: a wrong password is
		// reported before a junk code.
		s.Answered = s.Answered && r.OK()
		return Approved(), ""
	}
	switch {
	case r.RefusedPush(), !f.Typed():
		return RefusedPush(), ""
	case r.AnsweredLate():
		return AnsweredLate(), ""
	case noReplay:
		return RejectedCodes(), ""
	}
	return mfa.Verdict{}, WrongCode
}

// countWrong counts the codes that Vault refused, and puts what is left of a lock into f.
func (s *StepUp) countWrong(f *mfa.Failure, sent Factors) {
	if f.Kind != mfa.WrongCode && f.Kind != mfa.RateLimited {
		return
	}
	told := f.Wait
	for _, m := range sent.Methods {
		switch {
		case sent.Codes[ID(m)] == "", s.Refused != nil && !slices.Contains(s.Refused, m.ID):
		case f.Kind == mfa.WrongCode:
			s.Config.State.Codes.RecordWrong(s.usedKey(m))
		default:
			f.Wait = min(f.Wait, s.Config.State.Codes.LockedFor(s.usedKey(m), told))
		}
	}
}

// ForgetWrong ends the count of wrong codes, as Vault does with a right one.
func (s *StepUp) ForgetWrong(sent Factors) {
	for _, m := range sent.Methods {
		s.Config.State.Codes.ForgetWrong(s.usedKey(m))
	}
}

package factor

import (
	"context"
	"net/http"

	"github.com/vault-stepup/stepup/agent/mfa"
)

// An Exchange sends one request with its factors: it asks for them, sends, reads what Vault
// answers, and asks again where another code may help. The fields up to Read are set by its
// user.
type Exchange struct {
	*StepUp
	Methods []mfa.Method
	// MayPush is what Vault may push besides Methods; the zero one for nothing.
	MayPush mfa.Method
	// Confirmed: the person was asked about the pushes of Methods already.
	Confirmed bool
	// Send sends the request once. The answer may take longer than a prompt: only the app
	// ends it.
	Send func(ctx context.Context, f Factors) (*http.Response, error)
	// Notice is what is told of a push by a method; nil means PushOf.
	Notice func(mfa.Method) Push
	// Read says what an answer of Vault means: the verdict, or why another code may help.
	Read func(r Reply, f Factors) (v mfa.Verdict, again string)

	// Last is Vault's last answer, nil before the first. The user of the Exchange closes it.
	Last *http.Response
	// Err means that Vault was not reached before the person was asked or told anything:
	// the app may repeat the request. After that it must not, which clients do after a 502:
	// it would push again. Then there is a verdict instead.
	Err error
}

// Run asks and sends until Vault has decided or the attempts from q on are used up. app is
// the context of the app's request.
func (x *Exchange) Run(app context.Context, q Question) mfa.Verdict {
	v, ok := x.Try(q, func(q Question) (mfa.Verdict, string) {
		f, again, err := x.ask(app, q)
		switch {
		case err != nil:
			return VerdictOf(app, err), ""
		case again != "":
			return mfa.Verdict{}, again
		}
		return x.Deliver(app, f)
	})
	if !ok {
		return RejectedCodes()
	}
	return v
}

func (x *Exchange) ask(app context.Context, q Question) (f Factors, again string, err error) {
	if x.Confirmed {
		return x.Passcodes(app, x.Methods, q)
	}
	return x.Factors(app, x.Methods, x.MayPush, q)
}

// Deliver sends the request with f and reads the answer.
func (x *Exchange) Deliver(app context.Context, f Factors) (v mfa.Verdict, again string) {
	send := func(ctx context.Context) (*http.Response, error) { return x.Send(ctx, f) }
	if ID(f.Push) == "" {
		return x.Take(app, Timed(app, send), f)
	}
	push := PushOf(f.Push)
	if x.Notice != nil {
		push = x.Notice(f.Push)
	}
	return x.Take(app, x.WaitForPush(app, push, send), f)
}

// Take keeps an answer to f, and says what it means.
func (x *Exchange) Take(app context.Context, r Reply, f Factors) (v mfa.Verdict, again string) {
	if r.Response != nil {
		x.Keep(r.Response)
	}
	switch {
	case r.DroppedByProxy():
		return DroppedByProxy(), ""
	case r.Err != nil && !x.Challenged:
		x.Err = r.Err
		return mfa.Verdict{}, ""
	case r.Err != nil:
		return VerdictOf(app, r.Err), ""
	}
	return x.Read(r, f)
}

// Keep closes the last answer and keeps another one, or nil.
func (x *Exchange) Keep(resp *http.Response) {
	if x.Last != nil {
		_ = x.Last.Body.Close()
	}
	x.Last = resp
}

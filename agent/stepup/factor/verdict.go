package factor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/stepup/state"
	"github.com/vault-stepup/stepup/prompt"
)

// Sentences for the app start with "stepup: ", say what happened and then what to do; those
// for a prompt say what happened before. Vault's own words may stand in them: package
// prompt sanitises what it shows.
const (
	// NeverPromptedRule says why a rule shows no prompt.
	NeverPromptedRule = "stepup: this rule never asks (prompt = \"never\"); step up to it with another program first"
	// WrongCode is the reason to ask for another code.
	WrongCode = "wrong code, or one that was used: wait for the next one"

	queuedTooLong  = "stepup: another request for the same rule was still being asked about; run it again"
	oneCodeEach    = ", and fewer at once: each of them needs a code of its own, of which there is one every 30 seconds (a rule with a token or login grant needs one for all)"
	notAnswered    = "stepup: nobody answered the question in time; run it again after the cool-down, and answer within the time it shows"
	notSeen        = "stepup: other questions were open all the time, so nobody saw this one; run it again"
	pushRefused    = "stepup: the push was refused on the phone, or nobody answered it; run it again after the cool-down to get a new one"
	dropped        = "stepup: something between here and vault, a load balancer say, stopped waiting while your phone was asked; raise its idle timeout to 100 seconds or more, and try again after the cool-down"
	stillEnrolling = "stepup: your authenticator is still being set up; finish that where you were asked, then run this again (a longer prompt timeout and VAULT_CLIENT_TIMEOUT let it wait)"
)

// Approved is the verdict on Vault's yes.
func Approved() mfa.Verdict { return mfa.Verdict{Outcome: mfa.Approved} }

// denied is the verdict on a person's no.
func denied(message string) mfa.Verdict { return mfa.Verdict{Outcome: mfa.Denied, Message: message} }

// Timeout is the verdict on a question or push that was not answered.
func Timeout(message string) mfa.Verdict { return mfa.Verdict{Outcome: mfa.Timeout, Message: message} }

// Rejected is the verdict on factors that Vault did not accept.
func Rejected(message string) mfa.Verdict {
	return mfa.Verdict{Outcome: mfa.Rejected, Message: message}
}

// Unavailable is the verdict where no factor could be asked for, or Vault not be asked.
func Unavailable(message string) mfa.Verdict {
	return mfa.Verdict{Outcome: mfa.Unavailable, Message: message}
}

// Unavailablef is Unavailable with a formatted message.
func Unavailablef(format string, args ...any) mfa.Verdict {
	return Unavailable(fmt.Sprintf(format, args...))
}

// Canceled is the verdict for a request that waits no longer: the app left, or the agent is
// locked or stops.
func Canceled() mfa.Verdict { return Unavailable(state.Canceled().Message) }

// RejectedCodes is the verdict when the attempts are used up.
func RejectedCodes() mfa.Verdict {
	return Rejected("stepup: vault did not accept the codes (a code counts as used also where somebody else had the same digits); run it again after the cool-down, with a new one")
}

// RefusedPush is the verdict on a push that was refused, or not answered.
func RefusedPush() mfa.Verdict { return denied(pushRefused) }

// DroppedByProxy is the verdict on a push whose wait something on the way has ended.
func DroppedByProxy() mfa.Verdict { return Timeout(dropped) }

// AnsweredLate is the verdict on a refusal that came too late to be an ordinary one.
func AnsweredLate() mfa.Verdict {
	return Unavailable("stepup: vault refused only after a long wait, as after a push that nobody approved, so it is not asked again; if there was a push, name its method in the rule")
}

// StillEnrolling is the verdict for an app that leaves while an authenticator is set up.
func StillEnrolling() mfa.Verdict { return Timeout(stillEnrolling) }

// Unreached is the verdict on a failure to reach Vault with the factors.
func Unreached(err error) mfa.Verdict {
	return Unavailablef("stepup: vault could not be reached with the second factor: %v", err)
}

// CallerUnknown is the verdict where Vault cannot be asked about the caller.
func CallerUnknown(err error) mfa.Verdict {
	return Unavailablef("stepup: cannot tell whether vault knows your token: auth/token/lookup-self: %v", err)
}

// ProbeFailed is the verdict where Vault does not tell the caller's capabilities.
func ProbeFailed(err error) mfa.Verdict {
	return Unavailablef("stepup: cannot tell whether a second factor would help: sys/capabilities-self: %v", err)
}

// BadStatus is the verdict on an answer that says nothing of the factors.
func BadStatus(status int) mfa.Verdict {
	return Unavailablef("stepup: vault could not check the second factor (status %d); try again later", status)
}

func tooManyDenials() mfa.Verdict {
	return mfa.Verdict{Outcome: mfa.Cooldown, Message: "stepup: denied or left unanswered three times in ten minutes, so nobody is asked any more; run `stepup resume` to be asked again"}
}

// providerDown is for an outage of the service behind a factor: no code and no push helps,
// so the person reads where the way out is.
func providerDown(f mfa.Failure) mfa.Verdict {
	return Unavailablef("stepup: vault cannot use the service behind the second factor: %s; try again later, or see break-glass in the README", f.Brief())
}

func coolingDown(was mfa.Verdict, left time.Duration) mfa.Verdict {
	why := map[mfa.Outcome]string{
		mfa.Denied:   "it was denied a moment ago",
		mfa.Timeout:  "nobody answered a moment ago",
		mfa.Rejected: "the codes were wrong a moment ago",
	}[was.Outcome]
	if was.Message == dropped {
		why = "a load balancer cut the wait for your phone off a moment ago"
	}
	return mfa.Verdict{Outcome: mfa.Cooldown, Message: fmt.Sprintf("stepup: not asking again yet: %s; try again in %s", why, seconds(left))}
}

// VerdictOf says what an error of a prompt or a call means for the app. app is the context
// of its request.
func VerdictOf(app context.Context, err error) mfa.Verdict {
	switch {
	case app.Err() != nil:
		return Canceled() // the app left: this is not read, and no denial of the person
	case errors.Is(err, state.ErrMuted):
		return tooManyDenials()
	case errors.Is(err, prompt.ErrDenied):
		return denied("stepup: the second factor was denied; if that was a mistake, try again after the cool-down")
	case errors.Is(err, prompt.ErrDismissed):
		return denied("stepup: the question was closed without an answer; run it again after the cool-down")
	case errors.Is(err, prompt.ErrCanceled):
		return state.Canceled()
	case errors.Is(err, prompt.ErrUnseen):
		return Timeout(notSeen)
	case errors.Is(err, prompt.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return Timeout(notAnswered)
	case errors.Is(err, prompt.ErrBusy):
		return mfa.Verdict{Outcome: mfa.Unavailable, NoPrompt: true, Message: "stepup: too many questions are open; answer those (`stepup prompts`) and try again"}
	case errors.As(err, new(*prompt.ProgramError)):
		return programFailed(err)
	case errors.Is(err, prompt.ErrUnavailable):
		return mfa.Verdict{Outcome: mfa.Unavailable, NoPrompt: true, Message: "stepup: there is no way to ask you for the second factor; run `stepup attach` in a terminal and try again"}
	}
	return Unreached(err)
}

// programFailed is the verdict where the user's own program was to ask and did not.
func programFailed(err error) mfa.Verdict {
	var program *prompt.ProgramError
	errors.As(err, &program)
	return mfa.Verdict{Outcome: mfa.Unavailable, NoPrompt: true, Message: fmt.Sprintf(
		"stepup: your prompt command %s did not ask you (%s); run it by hand to see why, or run `stepup attach` in a terminal, and try again", program.Program, program.State)}
}

// Classify says what a failure means that Vault's own text explains: the verdict, or why
// another code may help before the deadline. ok is false for a text that does not say that.
// typed says whether a code was sent.
func Classify(f mfa.Failure, typed bool, deadline time.Time) (v mfa.Verdict, again string, ok bool) {
	switch f.Kind {
	case mfa.WrongCode:
		return v, WrongCode, true
	case mfa.RateLimited:
		if time.Until(deadline) < f.Wait {
			return Rejected(fmt.Sprintf("stepup: too many wrong codes for vault; try again in %s", seconds(f.Wait))), "", true
		}
		return v, fmt.Sprintf("too many wrong codes: wait %s, then use a new one", seconds(f.Wait)), true
	case mfa.Expired:
		v = Unavailable("stepup: vault no longer knows this login: the active server changed meanwhile, or the login waited too long or was finished elsewhere; log in again")
	case mfa.NoLeader:
		v = Unavailable("stepup: the active vault server changes at this moment, and held logins are lost with the old one; log in again in ten seconds")
	case mfa.MissingMethod:
		v = missingMethod(f)
	case mfa.PushDenied:
		v = RefusedPush()
	case mfa.PushTimeout:
		v = Timeout(pushRefused)
	case mfa.Unreachable:
		v = providerDown(f)
	case mfa.NotEnrolled:
		v = Rejected("stepup: the service behind this method knows no phone of yours; enrol one there, then run it again")
		if typed {
			v.Message = "stepup: you have no secret for this method yet; ask for it to be enrolled in vault"
		}
	case mfa.Misconfigured:
		v = Unavailable("stepup: vault and duo do not work together, and no code would change that; show vault's words above to whoever runs it")
	case mfa.Locked:
		v = Unavailable("stepup: duo does not let you in, whatever you answer; ask whoever runs it to look at your account")
	}
	return v, "", v.Outcome != ""
}

// missingMethod is for a method that Vault demands and did not name: no code for the ones that
// it named can help.
func missingMethod(f mfa.Failure) mfa.Verdict {
	wanted := OneLine(strings.Join(f.Wanted(), ", "))
	if wanted == "" {
		wanted = "another method"
	}
	return Unavailablef("stepup: vault demands a factor of %s, too, which it did not name: enforcements of one name in a namespace and its parent are shown as one; ask whoever runs vault to rename one of them", wanted)
}

// notTold is for a program that may be one of those that cause no question.
func notTold(p peer.Peer) mfa.Verdict {
	if p.Ended {
		return Unavailable("stepup: which program this is cannot be told (the process that connected has ended), so it counts as one that causes no question; let the program that asks open the connection")
	}
	return Unavailable("stepup: which program this is cannot be told (it hides its process), so it counts as one that causes no question; use the agent's unix socket, where the kernel tells")
}

func vaultSays(reason string) string {
	if reason == "" {
		return WrongCode
	}
	return "vault says: " + OneLine(reason)
}

// OneLine is Vault's text without its line breaks and bullets.
func OneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func seconds(d time.Duration) string {
	n := int(math.Ceil(d.Seconds()))
	if n == 1 {
		return "1 second"
	}
	return fmt.Sprintf("%d seconds", n)
}

package stepup

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
)

// Every sentence that a person reads because of a step-up. Those for an app
// start with "stepup: ", say what happened and then what to do; those for a
// prompt say what happened before. Vault's own words may stand in them: the
// prompt package sanitises what it shows.

const (
	appDismissed   = "stepup: the prompt was closed without an answer; run it again"
	appDenied      = "stepup: the second factor was denied; if that was a mistake, try again after the cool-down"
	appTimeout     = "stepup: nobody answered the prompt in time; run it again and answer within the time it shows"
	appUnseen      = "stepup: other questions were open all the time, so nobody saw this one; run it again"
	appWaited      = "stepup: another request for the same rule was still being asked about; run it again"
	appCanceled    = "stepup: the prompt was cancelled by stepup lock or because the agent stopped; run it again"
	appNoPrompt    = "stepup: there is no way to ask you for the second factor; run `stepup attach` in a terminal and try again"
	appBusy        = "stepup: too many prompts are open; answer those (`stepup prompts`) and try again"
	appRejected    = "stepup: vault did not accept the codes; wait for a new one and run it again"
	appPushRefused = "stepup: the push was refused on the phone, or nobody answered it; run it again after the cool-down to get a new one"
	appTooLate     = "stepup: vault refused only after a long wait, as after a push that nobody approved, so it is not asked again; if there was a push, name its method in the rule"
	appExpired     = "stepup: vault no longer knows this login (it is kept for five minutes); log in again"
	appNoPhone     = "stepup: the service behind this method knows no phone of yours; enrol one there, then run it again"
	appNotEnrolled = "stepup: you have no secret for this method yet; ask for it to be enrolled in vault"

	appCut = "stepup: something between here and vault, a load balancer say, stopped waiting while your phone was asked; raise its idle timeout to 100 seconds or more, and try again after the cool-down"

	waitForNext     = "the last code was used a moment ago: wait for the next one"
	wrongCode       = "wrong code, or one that was used: wait for the next one"
	codeSentBefore  = "that code was sent already: wait for the next one"
	appQuietRule    = "stepup: this rule never prompts (prompt = \"never\"); step up to it with another program first"
	appDetached     = "stepup: programs without a terminal or desktop are not prompted (detached = \"never\"); run it from a terminal"
	appUnidentified = "stepup: which program this is cannot be told (it hides its process), so it counts as one that is not prompted; use the agent's unix socket, where the kernel tells"
	appNeverAsked   = "stepup: this program is on the list of those that are never prompted"
	appDeadCaller   = "stepup: vault does not know your token; log in again"
	appTired        = "stepup: denied or left unanswered three times in ten minutes, so nobody is asked any more; run `stepup resume` to be asked again"

	appNotApproved  = "stepup: nobody has approved this request yet; run it again to go on waiting for the same approval, or unwrap the token of wrap_info when it is there"
	appGroupDenied  = "stepup: the wait for approval was given up here; unwrap the token of wrap_info when it is there"
	appApprovalGone = "stepup: vault no longer knows this request for approval: it has expired, or its answer was fetched elsewhere; run it again to make a new one"

	groupApproved   = "approved"
	groupDeniedHere = "given up here; the request for approval stays open in vault until it expires"
	groupStillOpen  = "not approved yet; the next try goes on waiting"
	groupEnded      = "the request for approval has ended"
	pushNoPhone     = "there is no phone for the push: type a code instead"
	pushSaidNo      = "the push was refused on the phone: type a code instead"
	pushGone        = "something between here and vault ended the wait for your phone: type a code instead"
	pushMissed      = "nobody approved the push in time: type a code instead"
	pushDown        = "vault cannot reach the service that pushes: type a code instead"

	appOktaNotEnrolled  = "stepup: okta has no factor of yours that vault can use; enrol Okta Verify or Google Authenticator there, then run it again"
	appRenewalNumber    = "stepup: okta wants a number to be tapped for this renewal, and vault cannot say which; log in again instead"
	appRenewalCode      = "stepup: okta wants a code for this renewal, which a renewal cannot carry; log in again instead"
	appLegacyUnasked    = "stepup: there was no way to ask you for a code, so vault decided by itself, by a push where it wants one; run `stepup attach` in a terminal to be asked"
	appDuoMisconfigured = "stepup: vault and duo do not work together, and no code would change that; show vault's words above to whoever runs it"
	appDuoLocked        = "stepup: duo does not let you in, whatever you answer; ask whoever runs it to look at your account"
	oktaWantsCode       = "okta wants a code: type the one from Okta Verify or Google Authenticator"
	renewalPushes       = "renewing your Okta token sends a push"
	loginPushes         = "this login sends a push to your phone; go on?"
	pushHasNumber       = "okta asks for a number"

	confirmSeed     = "confirm to use the code that stepup makes from its kept seed"
	chooseMethod    = "choose the method to confirm with"
	pushWord        = "push" // typed in the place of a code
	codeOrPush      = "type a code, or the word push to get a push on your phone"
	anotherOrPush   = "type another one, or the word push to get a push on your phone"
	oneMore         = "vault wants one more factor"
	pushApproved    = "done"
	pushCut         = "something between here and vault stopped waiting; the push on the phone may be ignored"
	pushOutage      = "vault could not use the service behind this factor"
	pushRefused     = "refused, or not answered in time"
	pushYes         = "approved on the phone"
	pushNo          = "refused on the phone"
	pushLate        = "not answered in time"
	pushNotSent     = "the push could not be sent"
	pushUnreachable = "vault could not be reached"
	pushDeniedHere  = "denied here; the push on the phone may be ignored"
)

const (
	confirmEnrol = "vault has no secret of yours for this method yet, and offers to set one up: have an authenticator at hand"
	firstCode    = "your new secret: a first code of it finishes the login"
	appEnrolling = "stepup: your authenticator is still being set up; finish that where you were asked, then run this again (a longer prompt timeout and VAULT_CLIENT_TIMEOUT let it wait)"
	appNotSetUp  = "stepup: you have no secret for this method yet and did not want to set one up; run it again to be asked, or ask for it to be enrolled in vault"
)

func enrolFailed(err error) string {
	return fmt.Sprintf("stepup: vault did not set up an authenticator for you: %v; ask for it to be enrolled in vault", err)
}

func coolingDown(was mfa.Verdict, left time.Duration) string {
	why := map[mfa.Outcome]string{
		mfa.Denied:   "it was denied a moment ago",
		mfa.Timeout:  "nobody answered a moment ago",
		mfa.Rejected: "the codes were wrong a moment ago",
	}[was.Outcome]
	if was.Message == appCut {
		why = "a load balancer cut the wait for your phone off a moment ago"
	}
	return fmt.Sprintf("stepup: not asking again yet: %s; try again in %s", why, seconds(left))
}

func noToken(path string) string {
	return fmt.Sprintf("stepup: %s answered without a token; check the path of the rule's grant", path)
}

func mintRefused(path, reason string) string {
	return fmt.Sprintf("stepup: vault does not create a token at %s: %s", path, oneLine(reason))
}

func callerUnknown(err error) string {
	return fmt.Sprintf("stepup: cannot tell whether vault knows your token: auth/token/lookup-self: %v", err)
}

func mayNotMint(path string) string {
	return fmt.Sprintf("stepup: your token may not create tokens at %s; its policies must grant update there", path)
}

func loginRefused(path, reason string) string {
	if reason == "" {
		return fmt.Sprintf("stepup: vault did not accept the password at %s; run it again", path)
	}
	return fmt.Sprintf("stepup: vault refused the login at %s: %s", path, oneLine(reason))
}

func wrongPassword(reason string) string {
	return "wrong password (" + oneLine(reason) + ")"
}

// tapNumber is what to do on the phone.
func tapNumber(number string) string { return "tap " + number + " in Okta Verify" }

// enrolAt says where, when Vault said so.
func enrolAt(address string) string {
	if address == "" {
		return "stepup: you are not enrolled with duo yet; ask whoever runs it how to, then run it again"
	}
	return "stepup: you are not enrolled with duo yet; enrol at " + address + ", then run it again"
}

// oneLine is Vault's text without its line breaks and bullets.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func probeFailed(err error) string {
	return fmt.Sprintf("stepup: cannot tell whether a second factor would help: sys/capabilities-self: %v", err)
}

// orPush is what a question says for a method that can do both.
func orPush(reason string) string {
	if reason == "" {
		return codeOrPush
	}
	reason, wait, ok := strings.Cut(reason, ": wait for") // not for a code of Duo's
	if ok && wait != "" {
		return reason + ": " + anotherOrPush
	}
	return reason + "; " + codeOrPush
}

// askToPush is the question that comes before a push.
func askToPush(method string) string { return fmt.Sprintf("send a push to your phone (%s)?", method) }

func otherPolicy(reason string) string {
	return fmt.Sprintf("stepup: vault refused it by a policy that this rule has no methods for: %s", oneLine(reason))
}

func vaultFailed(err error) string {
	return fmt.Sprintf("stepup: vault could not be reached with the second factor: %v", err)
}

// providerDown is for an outage of the service behind a factor: no code and no
// thumb helps, so the person reads where the way out is.
func providerDown(reason string) string {
	return fmt.Sprintf("stepup: vault cannot use the service behind the second factor: %s; try again later, or see break-glass in the README", oneLine(reason))
}

func vaultAnswered(status int) string {
	return fmt.Sprintf("stepup: vault could not check the second factor (status %d); try again later", status)
}

func rejectedWait(d time.Duration) string {
	return fmt.Sprintf("stepup: too many wrong codes for vault; try again in %s", seconds(d))
}

func tooManyCodes(d time.Duration) string {
	return fmt.Sprintf("too many wrong codes: wait %s, then use a new one", seconds(d))
}

func wrongDigits(digits int) string {
	return fmt.Sprintf("a code of this method has %d digits", digits)
}

func vaultSays(reason string) string {
	if reason == "" {
		return wrongCode
	}
	return "vault says: " + oneLine(reason)
}

func seconds(d time.Duration) string {
	n := int(math.Ceil(d.Seconds()))
	if n == 1 {
		return "1 second"
	}
	return fmt.Sprintf("%d seconds", n)
}

// orApprove says that a push rings while a code is asked for.
func orApprove(reason string, push mfa.Method) string {
	name := push.Label()
	if push.Type != "" && !strings.EqualFold(name, push.Type) {
		name += ", " + push.Type
	}
	if reason == "" {
		reason = "type a code"
	}
	return fmt.Sprintf("%s, or approve the push on your phone (%s)", reason, name)
}

// pushResult is the last line of a push notice.
func pushResult(c call) string {
	switch {
	case c.cut():
		return pushCut
	case c.err != nil:
		return pushUnreachable
	case isOutage(c.resp):
		return pushOutage
	case c.resp.StatusCode >= http.StatusInternalServerError:
		return fmt.Sprintf("vault answered %d", c.resp.StatusCode)
	case c.resp.StatusCode != http.StatusForbidden:
		return pushApproved
	}
	switch mfa.ReadFailure(keepBody(c.resp)).Kind {
	case mfa.PushDenied:
		return pushNo
	case mfa.PushTimeout:
		return pushLate
	case mfa.NotEnrolled:
		return pushNotSent
	}
	return pushRefused
}

// waitsForApproval says what the person has to do: find somebody who may approve.
// Vault does not tell who that is; the configuration may.
func waitsForApproval(accessor, approvers string, state mfa.GroupState) string {
	text := "vault wants the approval of other people: vault write sys/control-group/authorize accessor=" + accessor
	if approvers != "" {
		text += "; ask " + oneLine(approvers)
	}
	if len(state.By) > 0 {
		text += "; " + approvedSoFar(state.By)
	}
	return text
}

func approvedSoFar(by []string) string {
	return "approved so far by " + oneLine(strings.Join(by, ", "))
}

func mayNotAskApproval(err error) string {
	return fmt.Sprintf("stepup: your token may not ask about the approval (sys/control-group/request): %v", err)
}

func notReleased(reasons []string) string {
	return fmt.Sprintf("stepup: it was approved, but vault does not give out the answer: %s; unwrap the token of wrap_info yourself", oneLine(strings.Join(reasons, "; ")))
}

// loginResult is the last line of the notice of a login whose refusals read reads.
func loginResult(c call, read func([]byte) mfa.Failure) string {
	if c.err != nil || c.cut() || c.resp.StatusCode/100 == 2 {
		return pushResult(c)
	}
	f := read(keepBody(c.resp))
	switch {
	case f.Kind == mfa.PushDenied:
		return pushNo
	case f.Kind == mfa.PushTimeout:
		return pushLate
	case f.Kind == mfa.Unreachable:
		return pushOutage
	case f.Reason == "":
		return pushUnreachable
	}
	return vaultSays(f.Reason)
}

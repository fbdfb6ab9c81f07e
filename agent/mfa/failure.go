package mfa

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A FailureKind is why Vault did not accept a factor.
type FailureKind int

// The kinds of failure that call for different words or actions.
const (
	Unknown      FailureKind = 0 // a text we do not know
	WrongCode    FailureKind = 1 // wrong or used passcode; Vault does not tell which
	RateLimited  FailureKind = 2 // too many codes in one period; Wait says how long
	Expired      FailureKind = 3 // the held login is gone: log in again
	NotEnrolled  FailureKind = 4 // the person has no secret or phone for this method
	PushDenied   FailureKind = 5 // refused on the phone
	PushTimeout  FailureKind = 6 // no answer on the phone
	InvalidToken FailureKind = 7 // the caller's own token is dead; no factor helps
	Unreachable  FailureKind = 8 // Vault could not use the service behind the factor: an outage, not a refusal
	PolicyDenied FailureKind = 9 // a Sentinel policy said no, for want of a factor or for anything else

	MissingMethod FailureKind = 10 // an enforcement wants a method that the challenge did not name
	NoLeader      FailureKind = 11 // the servers have no active one at the moment

	// Of logins that have the factor in their own body; see [MountLogin].
	NeedsCode     FailureKind = 20 // no push: a code must be in the body
	NeedsNumber   FailureKind = 21 // a number challenge, and no nonce to ask for the number with
	Misconfigured FailureKind = 22 // Vault and the provider do not work together
	Locked        FailureKind = 23 // the provider does not let this person in at all
)

// A Failure is Vault's "no" to a factor.
type Failure struct {
	Kind   FailureKind
	Wait   time.Duration // how long Vault wants us to wait; 0 when it does not say
	Reason string        // Vault's own text; hostile until sanitised. Of a Sentinel denial without its trace

	// Policies are the Sentinel policies that denied, as Vault names them; nil for
	// any other failure, and where the text names none.
	Policies []string
}

// tryAgain takes a Go duration followed by the word seconds: Vault prints "30s
// seconds", OpenBao "30.000000002s seconds", older ones "30 seconds".
var tryAgain = regexp.MustCompile(`(?:try again|available) in ([0-9a-zµ.]{1,32}) seconds`)

// duoEnrolment is a message with the page on which Duo takes new people.
var duoEnrolment = regexp.MustCompile(`" - "https?://`)

// ReadFailure reads the body of an answer that refused a factor.
func ReadFailure(body []byte) Failure {
	f := Failure{Reason: reason(body)}
	if brief, policies, ok := sentinel(f.Reason); ok {
		return Failure{Kind: PolicyDenied, Reason: brief, Policies: policies}
	}
	f.Kind = failureKind(f.Reason)
	if m := tryAgain.FindStringSubmatch(f.Reason); m != nil {
		f.Wait = wait(m[1])
	}
	return f
}

// failureKind knows the answers of Vault and of OpenBao by parts of their texts
// (vault/login_mfa.go in both).
func failureKind(reason string) FailureKind {
	says := func(text string) bool { return strings.Contains(reason, text) }
	switch {
	case says("invalid token"):
		return InvalidToken
	case says("maximum TOTP validation attempts"):
		return RateLimited
	case says("invalid request ID"):
		return Expired
	case says("failed to find MFA credentials associated with"):
		return MissingMethod
	case says("local node not active but active cluster node not found"):
		return NoLeader
	case says("code already used"), says("failed to validate TOTP passcode"), says("MFA credentials not supplied or incorrect"):
		return WrongCode
	case says(`duo authentication failed: "Incorrect passcode`):
		return WrongCode
	case says("not present in entity"), says("no push-type MFA factor found"), says("no MFA factors found"), says("no users found"):
		return NotEnrolled
	case says("push verification explicitly rejected"), says(`duo authentication failed: "Login request denied`):
		return PushDenied
	case says("push verification timed out"), says("push verification operation canceled"), says(`duo authentication failed: "Login timed out`):
		return PushTimeout
	case outage(reason):
		return Unreachable
	case duoEnrolment.MatchString(reason):
		return NotEnrolled
	case says("context deadline exceeded"), says("context canceled"):
		return PushTimeout // Vault gave up on a service that was waiting for a phone
	}
	return Unknown
}

// Brief is Vault's reason without what a person can do nothing with: the name of
// the enforcement, the count of errors and the IDs of methods, which stand around
// it in the answer of sys/mfa/validate (vault/login_mfa.go). Reasons are joined by
// "; ". A text of another shape comes back on one line.
func (f Failure) Brief() string {
	if only, ok := strings.CutPrefix(f.Reason, "1 error occurred:\n\t* "); ok {
		return strings.Join(strings.Fields(only), " ")
	}
	head, rest, ok := strings.Cut(f.Reason, " errors occurred:\n")
	if !ok || !strings.HasPrefix(head, "failed to satisfy enforcement ") {
		return strings.Join(strings.Fields(f.Reason), " ")
	}
	var reasons []string
	for item := range strings.SplitSeq(rest, "\n\t* ") {
		item = strings.Join(strings.Fields(strings.TrimPrefix(item, "\t* ")), " ")
		if item != "" && !strings.HasPrefix(item, "login MFA validation failed for methodID:") {
			reasons = append(reasons, item)
		}
	}
	return strings.Join(reasons, "; ")
}

// missingMethod is a method that an enforcement wants. Its name is free text, and has its
// namespace before it. Patterns that count take a millisecond to compile: those that are used
// once for an answer of a person are not compiled at the start of each command.
func missingMethod() *regexp.Regexp {
	return regexp.MustCompile(`failed to find MFA credentials associated with an MFA method ID ([^\s,]{1,64}), method name ([^\n]{0,256})`)
}

// Wanted are the names of the methods that a failure of the kind MissingMethod is about, or
// the ID of one that has no name; hostile until sanitised.
func (f Failure) Wanted() (names []string) {
	for _, m := range missingMethod().FindAllStringSubmatch(f.Reason, maxPolicies) {
		if name := strings.TrimSpace(m[2]); name != "" {
			names = append(names, name)
		} else {
			names = append(names, m[1])
		}
	}
	return names
}

// refusedMethods are the IDs of the methods of the enforcement that was not satisfied.
func refusedMethods() *regexp.Regexp {
	return regexp.MustCompile(`login MFA validation failed for methodID: \[([^\]\n]{1,1000})\]`)
}

// RefusedMethods are the IDs of the methods of the enforcement that stopped a validate; nil
// where the text does not say. Of another enforcement, Vault has spent the code or not looked
// at it.
func (f Failure) RefusedMethods() []string {
	m := refusedMethods().FindStringSubmatch(f.Reason)
	if m == nil {
		return nil
	}
	return strings.Fields(m[1])
}

// DeniedBy are the Sentinel policies that denied, "" for one without a name; nil for any other
// failure.
func (f Failure) DeniedBy() []string {
	if f.Kind == PolicyDenied && len(f.Policies) == 0 {
		return []string{""}
	}
	return f.Policies
}

// FromProvider reports whether the text itself shows that it is about the service
// behind a factor, and not, say, about the database behind a secrets engine.
func (f Failure) FromProvider() bool {
	return f.Kind == Unreachable && providers.MatchString(f.Reason)
}

var providers = regexp.MustCompile(`(?i)duosecurity\.com|\bduo (?:auth|user|failed|preauth|api)|with duo\b|from duo\b|\.okta(?:preview|-emea)?\.com|ping(?:identity|one)\.|from pingid`)

// outage reports whether a text is about the connection from Vault to the service
// behind a factor. Vault hands on what Go's network says, and has words of its own
// for Duo (vault/login_mfa.go; helper/mfa/duo up to 1.10, later in lower case).
func outage(reason string) bool {
	for _, text := range []string{
		"ould not call Duo auth", "ould not look up Duo user information",
		"check against Duo failed", "Duo api check returned nil", "failed to perform Duo preauth",
		"failed to authenticate with Duo", "failed to get authentication status from Duo",
		"dial tcp", "proxyconnect tcp", "no such host", "connection refused", "connection reset by peer",
		"network is unreachable", "no route to host", "i/o timeout", "TLS handshake timeout", "tls: ", "x509: ",
		"Client.Timeout exceeded", "nil response from pingid",
	} {
		if strings.Contains(reason, text) {
			return true
		}
	}
	return false
}

// maxWait bounds the wait that a person is told; Vault's periods are seconds to
// minutes.
const maxWait = time.Hour

func wait(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		d, _ = time.ParseDuration(s + "s") // 0 with an error
	}
	if d <= 0 || d > maxWait {
		return 0
	}
	return d
}

// Errors returns the strings of {"errors": […]}, or nil for any other body.
func Errors(body []byte) []string {
	var answer struct {
		Errors []string `json:"errors"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return nil
	}
	return answer.Errors
}

// reason is the errors of a body in one text.
func reason(body []byte) string { return strings.Join(Errors(body), "; ") }

// MayNeedFactor reports whether the body of a 403 is one behind which a second
// factor may stand. Vault Enterprise gives no reason, so everything that is
// Vault's and does not blame the token qualifies (vault/request_handling.go).
func MayNeedFactor(body []byte) bool {
	return len(Errors(body)) > 0 && ReadFailure(body).Kind != InvalidToken
}

// BareDenial reports whether the body of a 403 is exactly the one by which Vault
// refuses for want of a factor or of a capability: it gives no reason
// (vault/request_handling.go, checkToken). Denials of Sentinel policies and of dead
// tokens have more in them.
func BareDenial(body []byte) bool {
	errors := Errors(body)
	return len(errors) == 1 && errors[0] == "1 error occurred:\n\t* permission denied\n\n"
}

// AppendError returns the body of an error with one more string in errors. The
// rest of the body stays as it is, byte for byte. A body that has no list of
// errors is replaced by one that has.
func AppendError(body []byte, text string) []byte {
	return appendTo(body, "errors", text)
}

// AppendWarning does the same for warnings, which may be null or absent.
func AppendWarning(body []byte, text string) []byte {
	return appendTo(body, "warnings", text)
}

func appendTo(body []byte, field, text string) []byte {
	list := slices.Concat([]byte("["), quote(text), []byte("]"))
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil || fields == nil {
		return append(setField([]byte("{}"), field, list), '\n')
	}
	var have []json.RawMessage
	if json.Unmarshal(fields[field], &have) != nil || len(have) == 0 {
		return setField(body, field, list)
	}
	_, end := findField(body, field)
	return splice(body, end-1, end-1, append([]byte(","), quote(text)...))
}

// denial matches the text of a Sentinel denial: an endpoint (egp) or role (rgp)
// governing policy, its enforcement level where Vault gives it, and its name, which
// begins with its namespace in newer versions ("root/NAME").
var denial = regexp.MustCompile(`\b[er]gp (?:[a-z-]{1,32} ){0,2}policy "([^"\x00-\x1f]{1,256})" evaluation resulted in denial`)

// sentinelText is what every such answer has.
const sentinelText = "evaluation resulted in denial"

// DeniedByPolicy reports whether any of Vault's errors is a Sentinel denial. Vault
// looks at those policies last, so the token behind it is alive.
func DeniedByPolicy(errors []string) bool {
	return slices.ContainsFunc(errors, func(text string) bool { return strings.Contains(text, sentinelText) })
}

// maxPolicies bounds what a text may make us look up.
const maxPolicies = 16

// sentinel reads the text of a Sentinel denial. brief is that text without the
// trace, which repeats the policy's source and is too long for a prompt.
func sentinel(reason string) (brief string, policies []string, ok bool) {
	if !strings.Contains(reason, sentinelText) {
		return "", nil, false
	}
	var lines []string
	for _, m := range denial.FindAllStringSubmatch(reason, -1) {
		if len(policies) == maxPolicies {
			break
		}
		if !slices.Contains(policies, m[1]) {
			policies, lines = append(policies, m[1]), append(lines, m[0])
		}
	}
	if len(lines) == 0 {
		return "policy " + sentinelText, nil, true
	}
	return strings.Join(lines, "; "), policies, true
}

// inlineFailed is what OpenBao puts before the reason for which the login inside a
// request failed (internal/vault/request_handling.go, HandleRequest).
const inlineFailed = "failed to perform inline authentication: "

// RefusedInLogin reports whether the body of a 403 is the answer to factors that
// came with the login itself. Vault gives no reason then (request_handling.go,
// handleLoginRequest), and not the list of one with which it refuses a request.
func RefusedInLogin(body []byte) bool {
	errors := Errors(body)
	if len(errors) != 1 {
		return false
	}
	if reason, inline := strings.CutPrefix(errors[0], inlineFailed); inline {
		return strings.HasSuffix(strings.TrimSpace(reason), "permission denied")
	}
	return errors[0] == "permission denied"
}

// WantsInlineFactor reports whether OpenBao refused a request because the login
// inside it needs a second factor: such a login cannot be held.
func WantsInlineFactor(body []byte) bool {
	return slices.ContainsFunc(Errors(body), func(text string) bool {
		return strings.Contains(text, inlineFailed+"unable to perform inline authentication with login MFA")
	})
}

// FactorUnused reports whether the answer to a login says that no enforcement asked
// for the factors that came with it.
func FactorUnused(body []byte) bool {
	var answer struct {
		Warnings []string `json:"warnings"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return false
	}
	return slices.Contains(answer.Warnings, "Found MFA header but failed to find MFA Enforcement Config")
}

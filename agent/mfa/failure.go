package mfa

import (
	"bytes"
	"encoding/json"
	"math"
	"regexp"
	"strconv"
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
	PushTimeout  FailureKind = 6 // nobody touched the phone
	InvalidToken FailureKind = 7 // the caller's own token is dead; no factor helps
	Unreachable  FailureKind = 8 // Vault could not use the service behind the factor: an outage, nobody's no
	PolicyDenied FailureKind = 9 // a Sentinel policy said no, for want of a factor or for anything else

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
	f := Failure{Reason: strings.Join(Errors(body), "; ")}
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

// FromProvider reports whether the text itself shows that it is about the service
// behind a factor, and not, say, about the database behind a secrets engine.
func (f Failure) FromProvider() bool {
	if f.Kind != Unreachable {
		return false
	}
	return providers.MatchString(f.Reason)
}

var providers = regexp.MustCompile(`(?i)duosecurity\.com|\bduo (?:auth|user|failed|preauth|api)|with duo\b|from duo\b|\.okta(?:preview|-emea)?\.com|ping(?:identity|one)\.|from pingid`)

// outage reports whether a text is about the way from Vault to the service
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

// maxWait bounds what a text may make us tell a person; Vault's periods are
// seconds to minutes.
const maxWait = time.Hour

func wait(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		seconds, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(seconds) || seconds > maxWait.Seconds() {
			return 0
		}
		d = time.Duration(seconds * float64(time.Second))
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

// MayNeedFactor reports whether the body of a 403 is one behind which a second
// factor may stand. Vault Enterprise gives no reason, so everything that is
// Vault's and does not blame the token qualifies (vault/request_handling.go).
func MayNeedFactor(body []byte) bool {
	errors := Errors(body)
	if len(errors) == 0 {
		return false
	}
	return ReadFailure(body).Kind != InvalidToken
}

// BareDenial reports whether the body of a 403 is the one, to the letter, by which
// Vault refuses for want of a factor, and for what a policy does not grant: it
// gives no reason (vault/request_handling.go, checkToken). Refusals of Sentinel and
// of tokens have more in them.
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
	quoted, _ := json.Marshal(text) // a string always marshals
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil || fields == nil {
		return append(append([]byte(`{"`+field+`":[`), quoted...), "]}\n"...)
	}
	list, ok := fields[field]
	if !ok {
		open := bytes.IndexByte(body, '{') + 1
		insert := `"` + field + `":[` + string(quoted) + `]`
		if len(fields) > 0 {
			insert += ","
		}
		return splice(body, open, open, insert)
	}
	from := valueOffset(body, field)
	to := from + len(list)
	var have []json.RawMessage
	if json.Unmarshal(list, &have) != nil {
		have = nil
	}
	if len(have) == 0 {
		return splice(body, from, to, "["+string(quoted)+"]")
	}
	return splice(body, to-1, to-1, ","+string(quoted))
}

func splice(body []byte, from, to int, insert string) []byte {
	out := make([]byte, 0, len(body)+len(insert))
	out = append(out, body[:from]...)
	out = append(out, insert...)
	return append(out, body[to:]...)
}

// valueOffset is where the last value of a field of the top object starts: the
// last one counts for encoding/json, too. body is a valid object that has it.
func valueOffset(body []byte, field string) (offset int) {
	d := json.NewDecoder(bytes.NewReader(body))
	_, _ = d.Token() // {
	for d.More() {
		key, _ := d.Token()
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return offset
		}
		if key == field {
			offset = int(d.InputOffset()) - len(value)
		}
	}
	return offset
}

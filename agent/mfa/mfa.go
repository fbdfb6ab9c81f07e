// Package mfa holds Vault's words for a second factor: the challenge that a
// login answers with, the credentials that satisfy it, and the texts by which
// Vault refuses them. It does no I/O.
//
// The shapes are those of Vault 1.21 (sdk/logical/identity.proto,
// vault/request_handling.go, vault/login_mfa.go) and of OpenBao 2.x.
package mfa

// A Challenge is what Vault wants to be satisfied before it gives out the
// token of a login.
type Challenge struct {
	RequestID   string       // names the held login; lives 300 s in Vault's memory
	Namespace   string       // where the login was sent; validate must go there too
	WrapTTL     string       // X-Vault-Wrap-TTL of the login, moved to validate; "" means not wrapped
	Node        string       // scheme://host that answered the login; "" means the configured address
	Constraints []Constraint // all must be met; sorted by name
}

// A Constraint is one login enforcement.
type Constraint struct {
	Name string
	Any  []Method // any one meets it
}

// A Method is one configured MFA method of Vault.
type Method struct {
	ID             string `json:"id"`                      // UUID, "" where only a name is known (Enterprise step-up)
	Type           string `json:"type"`                    // totp, duo, okta, pingid, or a word we do not know yet
	Name           string `json:"name"`                    // "" where Vault did not send one
	UsesPasscode   bool   `json:"uses_passcode"`           // false: Vault pushes, and blocks until the person decided
	SelfEnrollment bool   `json:"self_enrollment_enabled"` // Vault offers to enrol the person now (Enterprise 1.21)
	Digits         int    `json:"-"`                       // length of a passcode; 0 means unknown
	OrPush         bool   `json:"-"`                       // with UsesPasscode: where no passcode comes, Vault pushes
}

// Label is the name a person knows the method by.
func (m Method) Label() string {
	if m.Name != "" {
		return m.Name
	}
	return m.ID
}

// CanBeDropped reports whether Vault ends a push of this method soon after its
// request is dropped, and then knows the held login again. Duo's client does not
// look while the phone rings (vault/login_mfa.go, validateDuo: AuthStatus has no
// context), which lasts about a minute.
func (m Method) CanBeDropped() bool { return !m.UsesPasscode && m.Type != "duo" }

// An Outcome is how a step-up ended, in the words of the Stepup-Outcome header.
type Outcome string

// The outcomes that an app can see.
const (
	Approved    Outcome = "approved"
	Cached      Outcome = "cached"
	Denied      Outcome = "denied"
	Timeout     Outcome = "timeout"
	Unavailable Outcome = "unavailable"
	Rejected    Outcome = "rejected"
	Cooldown    Outcome = "cooldown"
)

// Outcomes lists them all.
func Outcomes() []Outcome {
	return []Outcome{Approved, Cached, Denied, Timeout, Unavailable, Rejected, Cooldown}
}

// A Verdict is an outcome with the sentence that explains it to the app.
type Verdict struct {
	Outcome Outcome // "" means that no step-up took place
	Message string  // starts with "stepup: "; "" when Approved

	// NoPrompt: there is no way to ask a person. Only with Unavailable.
	NoPrompt bool
}

// OK reports whether Vault's answer may be handed on as it is.
func (v Verdict) OK() bool {
	return v.Outcome == "" || v.Outcome == Approved || v.Outcome == Cached
}

// A Credential is one line of X-Vault-MFA.
type Credential struct {
	Method   string // name or ID; no colon
	Passcode string // "" sends the bare name, which starts a push
	Key      string // what Vault wants in front of the passcode; "" for nothing
}

// Credential is the line for m with a passcode, or with "" for a push. Enterprise
// step-up takes a Duo passcode only as NAME:passcode=CODE and everything else as
// a request to push; a TOTP code it takes only bare.
func (m Method) Credential(passcode string) Credential {
	c := Credential{Method: m.Name, Passcode: passcode}
	if m.Type == "duo" {
		c.Key = "passcode"
	}
	return c
}

// Header is the value of one X-Vault-MFA line. Vault neither splits at commas
// nor trims blanks (http/handler.go, parseMFAHeader), so a credential is a line
// of its own, written without spaces.
func (c Credential) Header() string {
	switch {
	case c.Passcode == "":
		return c.Method
	case c.Key != "":
		return c.Method + ":" + c.Key + "=" + c.Passcode
	}
	return c.Method + ":" + c.Passcode
}

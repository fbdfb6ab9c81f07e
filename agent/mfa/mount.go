package mfa

import (
	"net/url"
	"regexp"
	"strings"
)

// A MountKind is an auth method whose second factor is part of the login itself.
type MountKind int

// The kinds of such mounts.
const (
	OktaMount   MountKind = 1 // Okta pushes while the login blocks, or wants totp in its body
	LegacyMount MountKind = 2 // MFA of Vault up to 1.10: passcode or method in the body
)

// A MountLogin is a login at such a mount.
type MountLogin struct {
	Kind  MountKind
	Mount string // "auth/okta", in the namespace of the login
	Body  LoginBody
	// Node is where the login went to after a redirect, as scheme://host; "" means
	// the configured address. It may be called while the login blocks.
	Node func() string
}

// Own reports whether the app has put its factor, or a nonce of its own, into the
// body: nothing is to be added.
func (l MountLogin) Own() bool {
	if l.Kind == OktaMount {
		return l.Body.Has("nonce")
	}
	return l.Body.Has("passcode") || l.Body.Has("method")
}

// OktaFailure reads the body of an answer that refused a login at an Okta mount, or
// the renewal of its token (builtin/credential/okta).
func OktaFailure(body []byte) Failure {
	f := Failure{Reason: reason(body)}
	says := func(text string) bool { return strings.Contains(f.Reason, text) }
	switch {
	case says("'totp' passcode parameter is required"):
		f.Kind = NeedsCode
	case says("nonce must be provided"):
		f.Kind = NeedsNumber
	case says("multi-factor authentication denied"):
		f.Kind = PushDenied
	case says("failed to complete multi-factor authentication"), says("exiting pending mfa challenge"):
		f.Kind = PushTimeout
	case says("factor is required in order to perform MFA"), says("complete MFA enrollment"):
		f.Kind = NotEnrolled
	case outage(f.Reason):
		f.Kind = Unreachable
	case says("okta authentication failed"), says("Okta auth failed"):
		f.Kind = WrongCode // or a wrong password: what was sent tells which
	}
	return f
}

// LegacyFailure reads the body of an answer that refused a login with Duo in its
// body. Vault hands on Duo's own words; those that it puts around them began with a
// capital up to 1.9 (helper/mfa/duo/duo.go). An unknown text may as well be about
// the password.
func LegacyFailure(body []byte) Failure {
	f := Failure{Reason: reason(body)}
	lower := strings.ToLower(f.Reason)
	says := func(text string) bool { return strings.Contains(lower, text) }
	switch {
	case says("incorrect passcode"), says("could not authenticate duo user") && says("(passcode)"):
		f.Kind = WrongCode
	case says("could not call duo"):
		f.Kind = Unreachable
	case says("could not load duo configuration"), says("could not read username for mfa"),
		says("could not look up duo user information"), says("could not authenticate duo user"),
		says("invalid duo preauth response"):
		f.Kind = Misconfigured
	case EnrolURL(f.Reason) != "", says("enroll an authentication device"):
		f.Kind = NotEnrolled
	case says("login timed out"):
		f.Kind = PushTimeout
	case says("login request denied"), says("reported as fraudulent"):
		f.Kind = PushDenied
	case says("locked out"), says("account is disabled"), says("account disabled"), says("access denied"):
		f.Kind = Locked
	}
	return f
}

// enrolURL takes only what a person may follow: https, and characters that neither
// end the address early nor do anything to a terminal.
func enrolURL() *regexp.Regexp {
	return regexp.MustCompile(`\((https://[A-Za-z0-9.-]{1,200}(?::[0-9]{1,5})?/[A-Za-z0-9._~/?&=%+-]{0,500})\)$`)
}

// EnrolURL is the address at which a person enrols with Duo, "" when the text does
// not end in one.
func EnrolURL(reason string) string {
	m := enrolURL().FindStringSubmatch(strings.TrimSpace(reason))
	if m == nil {
		return ""
	}
	if u, err := url.Parse(m[1]); err != nil || u.Host == "" {
		return ""
	}
	return m[1]
}

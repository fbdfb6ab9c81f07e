package prompt

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/vault-stepup/stepup/cache/secret"
)

// An Enrolment is a new TOTP secret. The person puts it into an authenticator, by a QR
// code or by hand, and then types the first code. Only a prompter that can show the
// secret may ask for the code.
type Enrolment struct {
	Secret    secret.Secret // base32 as [Request] hands it on: upper case, no padding
	Issuer    string        // with Account the name of the entry in the authenticator; may be ""
	Account   string
	Algorithm string // SHA1, SHA256 or SHA512
	Digits    int
	Period    int // seconds
}

// Format implements fmt.Formatter. Without it fmt would print what the pointer in a
// Request points at.
func (e Enrolment) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "enrolment of %d digits", e.Digits)
}

// maxSeed is the longest secret that is shown, in characters; Vault's have 32.
const maxSeed = 128

// sanitized returns a copy that is fit to be shown and drawn.
func (e *Enrolment) sanitized() *Enrolment {
	if e == nil {
		return nil
	}
	clean := *e
	clean.Issuer, clean.Account = Sanitize(e.Issuer, MaxName), Sanitize(e.Account, MaxName)
	if e.Algorithm != "SHA256" && e.Algorithm != "SHA512" {
		clean.Algorithm = "SHA1"
	}
	text := strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' || '2' <= c && c <= '7' {
			return c
		}
		return -1
	}, e.Secret.Reveal())
	clean.Secret = secret.Secret(text[:min(len(text), maxSeed)])
	return &clean
}

// Defaults of the key URI format, which are left out: the smaller the code, the
// more terminals have room for it.
const (
	defaultDigits = 6
	defaultPeriod = 30
)

// URI is the text of the QR code that authenticators scan
// (https://github.com/google/google-authenticator/wiki/Key-Uri-Format).
func (e *Enrolment) URI() secret.Secret {
	label, issuer := escapeLabel(e.Account), escapeLabel(e.Issuer)
	var b strings.Builder
	b.WriteString("otpauth://totp/")
	if issuer != "" {
		b.WriteString(issuer + ":")
	}
	b.WriteString(label + "?secret=" + e.Secret.Reveal())
	if issuer != "" {
		b.WriteString("&issuer=" + issuer)
	}
	if e.Algorithm != "SHA1" {
		b.WriteString("&algorithm=" + e.Algorithm)
	}
	if e.Digits != defaultDigits {
		b.WriteString("&digits=" + strconv.Itoa(e.Digits))
	}
	if e.Period != defaultPeriod {
		b.WriteString("&period=" + strconv.Itoa(e.Period))
	}
	return secret.Secret(b.String())
}

// escapeLabel writes a blank as %20: not every authenticator takes a + for one. A
// colon, escaped or not, would end the issuer.
func escapeLabel(s string) string {
	return strings.ReplaceAll(url.QueryEscape(strings.ReplaceAll(s, ":", "-")), "+", "%20")
}

// groups returns the secret in groups of four, as people read and type it, with this
// number of groups to a line.
func (e *Enrolment) groups(perLine int) []string {
	var lines, line []string
	text := e.Secret.Reveal()
	for len(text) > 0 {
		n := min(4, len(text))
		line, text = append(line, text[:n]), text[n:]
		if len(line) == perLine || text == "" {
			lines, line = append(lines, strings.Join(line, " ")), nil
		}
	}
	return lines
}

// Lines are the secret for typing it by hand: its groups, the account and the kind of
// code, without a margin. The first line is a heading.
func (e *Enrolment) Lines(groupsPerLine int) []string {
	lines := append([]string{"Secret:"}, e.groups(groupsPerLine)...)
	if name := e.name(); name != "" {
		lines = append(lines, "Account: "+name)
	}
	return append(lines, fmt.Sprintf("Kind: time-based, %d digits, %d s, %s", e.Digits, e.Period, e.Algorithm))
}

// GroupsPerLine makes lines of a secret that fit every terminal and window.
const GroupsPerLine = 8

// name is what the entry in the authenticator is called.
func (e *Enrolment) name() string {
	switch {
	case e.Issuer == "":
		return e.Account
	case e.Account == "":
		return e.Issuer
	}
	return e.Issuer + ": " + e.Account
}

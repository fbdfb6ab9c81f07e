package vault

import (
	"encoding/base32"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/vault-stepup/stepup/cache/secret"
)

// An Enrolment is a TOTP secret that Vault made for a held login. Vault keeps it
// only when the login is validated by a code of it.
type Enrolment struct {
	Secret    secret.Secret // base32, upper case, without padding
	Issuer    string        // both are hostile until sanitised; may be ""
	Account   string
	Algorithm string // SHA1, SHA256 or SHA512
	Digits    int    // 6 or 8
	Period    int    // seconds
}

// Limits of an otpauth URL.
const (
	maxOTPAuth = 2048
	maxSeed    = 128 // characters: 80 bytes; Vault makes 20 unless told otherwise
	maxLabel   = 256 // bytes
	maxPeriod  = 3600
)

// parseOTPAuth reads an otpauth://totp/ URL as Vault writes it
// (https://github.com/google/google-authenticator/wiki/Key-Uri-Format). It takes
// nothing that is unclear, because the person's app may read it differently, and
// drops parameters that it does not know. Errors quote nothing of it.
func parseOTPAuth(otpauth secret.Secret) (Enrolment, error) {
	text := otpauth.Reveal()
	if len(text) > maxOTPAuth {
		return Enrolment{}, errors.New("otpauth URL is too long")
	}
	u, err := url.Parse(text) // its error quotes the URL, secret included
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.User != nil || u.Fragment != "" {
		return Enrolment{}, errors.New("not an otpauth://totp/ URL")
	}
	// Vault leaves a + as it is, and writes a blank as %20.
	query, err := url.ParseQuery(strings.ReplaceAll(u.RawQuery, "+", "%2B"))
	if err != nil {
		return Enrolment{}, errors.New("parameters of the otpauth URL are malformed")
	}
	get := func(name, otherwise string) string {
		switch len(query[name]) {
		case 0:
			return otherwise
		case 1:
			return query[name][0]
		}
		return "\x00" // given twice: fits nothing
	}
	e := Enrolment{Algorithm: get("algorithm", "SHA1"), Issuer: get("issuer", "")}
	e.Digits, e.Period = number(get("digits", "6")), number(get("period", "30"))
	e.Secret = canonicalSeed(get("secret", ""))
	switch {
	case e.Algorithm != "SHA1" && e.Algorithm != "SHA256" && e.Algorithm != "SHA512":
		return Enrolment{}, errors.New("algorithm of the otpauth URL is none of SHA1, SHA256 and SHA512")
	case e.Digits != 6 && e.Digits != 8:
		return Enrolment{}, errors.New("digits of the otpauth URL are neither 6 nor 8")
	case e.Period < 1 || e.Period > maxPeriod:
		return Enrolment{}, fmt.Errorf("period of the otpauth URL is not between 1 and %d", maxPeriod)
	case e.Secret == "":
		return Enrolment{}, errors.New("secret of the otpauth URL is no base32 of a usable length")
	}
	e.Account = strings.TrimPrefix(u.Path, "/")
	if issuer, account, both := strings.Cut(e.Account, ":"); both {
		e.Account = strings.TrimLeft(account, " ")
		if e.Issuer == "" {
			e.Issuer = issuer
		}
	}
	for _, name := range []string{e.Issuer, e.Account} {
		if len(name) > maxLabel || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
			return Enrolment{}, errors.New("label of the otpauth URL is too long or no text")
		}
	}
	return e, nil
}

// canonicalSeed is a seed in the form that every authenticator takes, "" for what is none.
func canonicalSeed(text string) secret.Secret {
	if len(text) > maxSeed || strings.ContainsAny(text, "\r\n") { // the decoder would drop line ends
		return ""
	}
	encoding := base32.StdEncoding.WithPadding(base32.NoPadding)
	raw, err := encoding.DecodeString(strings.ToUpper(text))
	if err != nil {
		return ""
	}
	return secret.Secret(encoding.EncodeToString(raw))
}

// number is -1 for what is not all digits, or too large: Atoi would take a sign.
func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || !digitsOnly(text) {
		return -1
	}
	return n
}

func digitsOnly(text string) bool { return strings.Trim(text, "0123456789") == "" }

package vault

import (
	"context"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/cache/secret"
)

// ErrEnrolled: the person has a secret for the method already, so that Vault makes
// no other.
var ErrEnrolled = errors.New("there is a secret for this method already")

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

// Limits of an enrolment. The answer may hold a picture of any size that an
// administrator chose; Vault's default of 200 pixels makes 2 KiB of it.
const (
	maxEnrolment = 1 << 20
	maxOTPAuth   = 2048
	maxSeed      = 128 // characters: 80 bytes; Vault makes 20 unless told otherwise
	maxLabel     = 256 // bytes
	maxPeriod    = 3600
)

// SelfEnrol asks Vault Enterprise (1.21 or later) for a new TOTP secret for the
// person of a held login, which has offered it. Like a validate it needs no token
// and goes to where the login is held. ErrEnrolled means that there is one
// already, a [StatusError] that Vault refused. At most 20 s.
//
// The picture in the answer is not looked at: a decoder of pictures is more than
// a liar should get to, and ours is drawn from the URL.
func (c *Client) SelfEnrol(ctx context.Context, ch mfa.Challenge, method string) (Enrolment, error) {
	ctx, cancel := context.WithTimeout(ctx, onceTimeout)
	defer cancel()
	k := call{
		method:    http.MethodPost,
		path:      "identity/mfa/method/totp/self-enroll",
		namespace: ch.Namespace,
		body:      map[string]any{"mfa_method_id": method, "mfa_request_id": ch.RequestID},
	}
	resp, err := c.send(ctx, c.node(ch.Node), k)
	if err != nil {
		return Enrolment{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxEnrolment+1))
	switch {
	case err != nil:
		return Enrolment{}, fmt.Errorf("vault %q: read the answer of %s: %w", c.name, k.path, err)
	case len(body) > maxEnrolment:
		return Enrolment{}, fmt.Errorf("vault %q: the answer of %s is larger than %d bytes", c.name, k.path, maxEnrolment)
	case resp.StatusCode > 299:
		return Enrolment{}, newStatusError(resp.StatusCode, body, "")
	}
	e, err := parseEnrolment(body)
	if err != nil {
		return Enrolment{}, fmt.Errorf("vault %q: the answer of %s: %w", c.name, k.path, err)
	}
	return e, nil
}

// parseEnrolment reads data.url. That there is a secret already is a warning to a
// 200 without data (vault/login_mfa.go, handleMFAGenerateTOTP).
func parseEnrolment(body []byte) (Enrolment, error) {
	var answer struct {
		Data struct {
			URL secret.Secret `json:"url"`
		} `json:"data"`
		Warnings []string `json:"warnings"`
	}
	if json.Unmarshal(body, &answer) != nil { // its error may quote the body
		return Enrolment{}, errors.New("not Vault's JSON")
	}
	if answer.Data.URL != "" {
		return ParseOTPAuth(answer.Data.URL)
	}
	for _, warning := range answer.Warnings {
		if strings.Contains(warning, "already has a secret") {
			return Enrolment{}, ErrEnrolled
		}
	}
	return Enrolment{}, errors.New("without a secret")
}

// ParseOTPAuth reads an otpauth://totp/ URL as Vault writes it
// (https://github.com/google/google-authenticator/wiki/Key-Uri-Format). It takes
// nothing that is unclear, because the person's app may read it differently, and
// drops parameters that it does not know. Errors quote nothing of it.
func ParseOTPAuth(otpauth secret.Secret) (Enrolment, error) {
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
	if e.Algorithm != "SHA1" && e.Algorithm != "SHA256" && e.Algorithm != "SHA512" {
		return Enrolment{}, errors.New("algorithm of the otpauth URL is none of SHA1, SHA256 and SHA512")
	}
	if e.Digits, err = number(get("digits", "6")); err != nil || e.Digits != 6 && e.Digits != 8 {
		return Enrolment{}, errors.New("digits of the otpauth URL are neither 6 nor 8")
	}
	if e.Period, err = number(get("period", "30")); err != nil || e.Period < 1 || e.Period > maxPeriod {
		return Enrolment{}, fmt.Errorf("period of the otpauth URL is not between 1 and %d", maxPeriod)
	}
	var ok bool
	if e.Secret, ok = canonicalSeed(get("secret", "")); !ok {
		return Enrolment{}, errors.New("secret of the otpauth URL is no base32 of a usable length")
	}
	label := strings.TrimPrefix(u.Path, "/")
	if issuer, account, both := strings.Cut(label, ":"); both {
		label = strings.TrimLeft(account, " ")
		if e.Issuer == "" {
			e.Issuer = issuer
		}
	}
	e.Account = label
	for _, name := range []string{e.Issuer, e.Account} {
		if len(name) > maxLabel || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
			return Enrolment{}, errors.New("label of the otpauth URL is too long or no text")
		}
	}
	return e, nil
}

// canonicalSeed is a seed in the form that every authenticator takes.
func canonicalSeed(text string) (secret.Secret, bool) {
	if len(text) > maxSeed {
		return "", false
	}
	encoding := base32.StdEncoding.WithPadding(base32.NoPadding)
	raw, err := encoding.DecodeString(strings.ToUpper(text))
	// The decoder drops line ends; no person could type them.
	if err != nil || len(raw) == 0 || strings.ContainsAny(text, "\r\n") {
		return "", false
	}
	return secret.Secret(encoding.EncodeToString(raw)), true
}

// number reads digits only: Atoi would take a sign.
func number(text string) (int, error) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.Atoi(text)
}

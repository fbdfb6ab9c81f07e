package keyring

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/vault-stepup/stepup/cache/secret"
)

// ErrSeed: what is to be kept is no otpauth:// URL of a TOTP seed that Vault
// could have made.
var ErrSeed = errors.New("not a usable TOTP seed")

// Seeds are TOTP seeds in a keyring, each for an MFA method. With them the keyring holds
// the second factor, too. Errors are those of [Items] or wrap ErrSeed, and never quote a
// seed.
type Seeds struct{ items Items }

// NewSeeds returns the seeds in k.
func NewSeeds(k Keyring) Seeds { return Seeds{Items{k, "totp"}} }

// Put keeps the seed of a method, replacing what was there. The URL is what Vault gives
// out (identity/mfa/method/totp/generate) and QR codes hold; a bare secret in base32 is
// taken for one of Vault's defaults: SHA1, 6 digits, 30 s.
func (s Seeds) Put(ctx context.Context, method string, otpauth secret.Secret) error {
	if bare, ok := bareSeed(otpauth.Reveal()); ok {
		otpauth = "otpauth://totp/" + secret.Secret(url.PathEscape(method)) + "?secret=" + bare
	}
	if _, err := parseSeed(otpauth); err != nil {
		return err
	}
	return s.items.Put(ctx, otpauth, method)
}

// Get returns the otpauth:// URL of a method's seed.
func (s Seeds) Get(ctx context.Context, method string) (secret.Secret, error) {
	return s.items.Get(ctx, method)
}

// Delete forgets the seed of a method; that there is none is no error.
func (s Seeds) Delete(ctx context.Context, method string) error { return s.items.Delete(ctx, method) }

// Code returns the method's code at now, and for how long from now it is the
// current one (more than zero).
func (s Seeds) Code(ctx context.Context, method string, now time.Time) (secret.Secret, time.Duration, error) {
	otpauth, err := s.items.Get(ctx, method)
	if err != nil {
		return "", 0, err
	}
	seed, err := parseSeed(otpauth)
	if err != nil {
		return "", 0, err
	}
	return seed.code(now)
}

// Lengths of a bare secret, in characters of base32. The least is 80 bits, which no code,
// and hardly a word, has.
const (
	minBare = 16
	maxBare = 128
)

// bareSeed reads a secret as authenticators show it for typing: in base32, in groups, in
// either case, some with the padding.
func bareSeed(text string) (secret.Secret, bool) {
	text = strings.ToUpper(strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '-' || r == '\t' }), ""))
	text = strings.TrimRight(text, "=")
	if len(text) < minBare || len(text) > maxBare {
		return "", false
	}
	encoding := base32.StdEncoding.WithPadding(base32.NoPadding)
	raw, err := encoding.DecodeString(text)
	if err != nil || encoding.EncodeToString(raw) != text { // it takes line breaks, and lengths that there are not
		return "", false
	}
	return secret.Secret(text), true
}

// A seed is what an otpauth:// URL says.
type seed struct {
	Secret secret.Secret // base32; exported so that fmt asks it how it wants to be shown
	opts   totp.ValidateOpts
}

// Limits of a seed. Vault makes 6 or 8 digits and a period of 30 seconds unless
// it is configured otherwise (vault/login_mfa.go).
const (
	defaultPeriod = 30
	maxPeriod     = 3600
	maxSeedURL    = 1200
)

// parseSeed reads an otpauth:// URL. Package otp takes what it does not
// understand for the default, which would give codes that Vault refuses.
func parseSeed(otpauth secret.Secret) (seed, error) {
	bad := func(why string) (seed, error) { return seed{}, fmt.Errorf("%w: %s", ErrSeed, why) }
	text := strings.TrimSpace(otpauth.Reveal())
	if len(text) > maxSeedURL {
		return bad("it is too long")
	}
	u, err := url.Parse(text) // its error quotes the URL, seed included
	switch {
	case err == nil && strings.EqualFold(u.Scheme, "otpauth-migration"):
		return bad("otpauth-migration:// is Google Authenticator's export of several accounts in a form of its own; use the otpauth:// URL, QR code or secret that Vault gave out, or have Vault make a new one")
	case err != nil || !strings.EqualFold(u.Scheme, "otpauth"):
		return bad("it does not look like otpauth://totp/… or a secret in base32")
	}
	if !strings.EqualFold(u.Host, "totp") {
		return bad("only codes that change with time are supported (otpauth://totp/…)")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return bad("its parameters are malformed")
	}
	// People copy seeds in groups of four and in lower case, some with the padding.
	text = strings.ToUpper(strings.ReplaceAll(query.Get("secret"), " ", ""))
	s := seed{Secret: secret.Secret(strings.TrimRight(text, "="))}
	if s.opts.Algorithm, err = algorithm(query.Get("algorithm")); err != nil {
		return bad("its algorithm is none of SHA1, SHA256 and SHA512")
	}
	if s.opts.Digits, err = digits(query.Get("digits")); err != nil {
		return bad("codes must have 6 or 8 digits")
	}
	if s.opts.Period, err = period(query.Get("period")); err != nil {
		return bad(fmt.Sprintf("its period is not between 1 and %d seconds", maxPeriod))
	}
	if s.Secret == "" {
		return bad("it has no secret")
	}
	if _, _, err := s.code(time.Unix(0, 0)); err != nil {
		return bad("its secret is not base32")
	}
	return s, nil
}

func algorithm(word string) (otp.Algorithm, error) {
	switch strings.ToUpper(word) {
	case "", "SHA1":
		return otp.AlgorithmSHA1, nil
	case "SHA256":
		return otp.AlgorithmSHA256, nil
	case "SHA512":
		return otp.AlgorithmSHA512, nil
	}
	return 0, ErrSeed
}

func digits(word string) (otp.Digits, error) {
	switch word {
	case "", "6":
		return otp.DigitsSix, nil
	case "8":
		return otp.DigitsEight, nil
	}
	return 0, ErrSeed
}

func period(word string) (uint, error) {
	if word == "" {
		return defaultPeriod, nil
	}
	n, err := strconv.ParseUint(word, 10, 16)
	if err != nil || n < 1 || n > maxPeriod {
		return 0, ErrSeed
	}
	return uint(n), nil
}

func (s seed) code(now time.Time) (secret.Secret, time.Duration, error) {
	code, err := totp.GenerateCodeCustom(s.Secret.Reveal(), now, s.opts)
	if err != nil {
		return "", 0, ErrSeed // err may quote the seed
	}
	length := time.Duration(s.opts.Period) * time.Second
	passed := time.Duration(now.Unix()%int64(s.opts.Period))*time.Second + time.Duration(now.Nanosecond())
	return secret.Secret(code), length - passed, nil
}

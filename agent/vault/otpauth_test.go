package vault

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/cache/secret"
)

const (
	seedText = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
	otpauth  = "otpauth://totp/Vault:0d6c2f0e?algorithm=SHA1&digits=6&issuer=Vault&period=30&secret=" + seedText
)

func TestParseOTPAuth(t *testing.T) {
	t.Parallel()
	with := func(change ...string) string { return strings.NewReplacer(change...).Replace(otpauth) }
	plain := Enrolment{Secret: seedText, Issuer: "Vault", Account: "0d6c2f0e", Algorithm: "SHA1", Digits: 6, Period: 30}
	changed := func(change func(*Enrolment)) Enrolment {
		e := plain
		change(&e)
		return e
	}
	for name, tt := range map[string]struct {
		url  string
		want Enrolment // the zero value is an error
	}{
		"as Vault writes it":    {otpauth, plain},
		"defaults":              {"otpauth://totp/Vault:0d6c2f0e?secret=" + seedText, plain},
		"other parameters":      {with("SHA1", "SHA512", "digits=6", "digits=8", "period=30", "period=60"), changed(func(e *Enrolment) { e.Algorithm, e.Digits, e.Period = "SHA512", 8, 60 })},
		"lower case":            {with(seedText, strings.ToLower(seedText)), plain},
		"a parameter of others": {otpauth + "&image=http%3A%2F%2Fevil", plain},
		"issuer with marks":     {with("issuer=Vault", "issuer=M%C3%BCller+A%26B%20C"), changed(func(e *Enrolment) { e.Issuer = "Müller+A&B C" })},
		"no label":              {with("/Vault:0d6c2f0e", ""), changed(func(e *Enrolment) { e.Account = "" })},
		"no issuer":             {with("Vault:", "", "&issuer=Vault", ""), changed(func(e *Enrolment) { e.Issuer = "" })},
		"a label of a stranger": {with("0d6c2f0e", "%1B%5B2J%E2%80%AE"), changed(func(e *Enrolment) { e.Account = "\x1b[2J\u202e" })},

		"not a URL":             {"otpauth://totp/%zz", Enrolment{}},
		"web page":              {with("otpauth://totp", "https://totp"), Enrolment{}},
		"counter":               {with("totp", "hotp"), Enrolment{}},
		"a user in it":          {with("totp/", "me@totp/"), Enrolment{}},
		"a port":                {with("totp/", "totp:80/"), Enrolment{}},
		"a fragment":            {otpauth + "#x", Enrolment{}},
		"no secret":             {with(seedText, ""), Enrolment{}},
		"two secrets":           {otpauth + "&secret=" + seedText, Enrolment{}},
		"two issuers":           {otpauth + "&issuer=Vault", Enrolment{}},
		"not base32":            {with(seedText, "JBSWY3DPEHPK3PX1"), Enrolment{}},
		"half a character":      {with(seedText, "JBS"), Enrolment{}},
		"line end in it":        {with(seedText, "JBSW%0AY3DP"), Enrolment{}},
		"secret too long":       {with(seedText, strings.Repeat("A", 136)), Enrolment{}},
		"algorithm of our own":  {with("SHA1", "MD5"), Enrolment{}},
		"empty algorithm":       {with("SHA1", ""), Enrolment{}},
		"seven digits":          {with("digits=6", "digits=7"), Enrolment{}},
		"digits with a sign":    {with("digits=6", "digits=%2B6"), Enrolment{}},
		"no period":             {with("period=30", "period=0"), Enrolment{}},
		"a period of ages":      {with("period=30", "period=99999999999999999999"), Enrolment{}},
		"label too long":        {with("0d6c2f0e", strings.Repeat("a", 257)), Enrolment{}},
		"label that is no text": {with("0d6c2f0e", "%ff"), Enrolment{}},
		"parameters malformed":  {otpauth + "&x=%z", Enrolment{}},
		"too long":              {otpauth + "&x=" + strings.Repeat("a", 2048), Enrolment{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseOTPAuth(secret.Secret(tt.url))
			if d := cmp.Diff(tt.want, got); d != "" || (err == nil) != (tt.want.Secret != "") {
				t.Errorf("%v: %s", err, d)
			}
			if err != nil && (strings.Contains(err.Error(), "JBSW") || strings.Contains(err.Error(), tt.url)) {
				t.Errorf("the error quotes the URL: %v", err)
			}
		})
	}
}

// The law: what is taken is within its limits, and nothing of what is not taken is
// in the error.
func FuzzParseOTPAuth(f *testing.F) {
	f.Add(otpauth)
	f.Add("otpauth://totp/A%20B:c?secret=me&digits=8&period=1&algorithm=SHA256")
	f.Add("otpauth://totp/?secret=JBSWY3DP&secret=JBSWY3DP")
	f.Fuzz(func(t *testing.T, url string) {
		e, err := parseOTPAuth(secret.Secret(url))
		if err != nil {
			if e != (Enrolment{}) {
				t.Error("something comes with the error")
			}
			if len(url) > 20 && strings.Contains(err.Error(), url) {
				t.Error("the error quotes the URL")
			}
			return
		}
		text := e.Secret.Reveal()
		if text == "" || len(text) > 128 || strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
			t.Errorf("secret of %d characters", len(text))
		}
		if e.Digits != 6 && e.Digits != 8 || e.Period < 1 || e.Period > 3600 || len(e.Issuer) > 256 || len(e.Account) > 256 {
			t.Errorf("%+v", e)
		}
		again, err := parseOTPAuth(secret.Secret("otpauth://totp/?secret=" + text))
		if err != nil || again.Secret != e.Secret {
			t.Errorf("the secret is not in its own form: %v", err)
		}
	})
}

package vault_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
)

const (
	seedText = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
	otpauth  = "otpauth://totp/Vault:0d6c2f0e?algorithm=SHA1&digits=6&issuer=Vault&period=30&secret=" + seedText
)

// A secret is made for a held login in a namespace, a code of it finishes the
// login, and there is no second one.
func TestSelfEnrol(t *testing.T) {
	t.Parallel()
	address, ns, method := vaultWithLogin(t)
	ns.AddUser("userpass", "bob", "pw")
	if err := ns.AllowSelfEnrolment("corp"); err != nil {
		t.Fatal(err)
	}
	c := connect(t, address)
	held := func() mfa.Challenge {
		resp, err := c.Login(t.Context(), vault.LoginRequest{Path: "auth/userpass/login/bob", Namespace: "ns1", Password: "pw"})
		if err != nil {
			t.Fatal(err)
		}
		return challengeOf(t, resp)
	}
	first := held()
	if m := first.Constraints[0].Any[0]; !m.SelfEnrollment {
		t.Fatalf("nothing is offered: %+v", m)
	}
	e, err := c.SelfEnrol(t.Context(), first, method)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Secret) != 32 || e.Issuer != "Vault" || len(e.Account) != 36 || e.Algorithm != "SHA1" || e.Digits != 6 || e.Period != 30 {
		t.Errorf("%+v, %d characters", e, len(e.Secret))
	}
	if status, body := validate(t, c, first, method, ns.UnusedCode("corp", "bob")); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	if _, err := c.SelfEnrol(t.Context(), held(), method); !errors.Is(err, vault.ErrEnrolled) {
		t.Errorf("a second secret: %v", err)
	}
	var status *vault.StatusError
	if _, err := c.SelfEnrol(t.Context(), first, method); !errors.As(err, &status) || status.Status != http.StatusBadRequest {
		t.Errorf("for a login that is over: %v", err)
	}
}

// challengeOf reads the answer of a held login in ns1, and closes it.
func challengeOf(t *testing.T, resp *http.Response) mfa.Challenge {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	c, ok, err := mfa.Parse(body)
	if err != nil || !ok {
		t.Fatalf("no challenge (%v) in %s", err, body)
	}
	c.Namespace = "ns1"
	return c
}

func TestSelfEnrolAnswers(t *testing.T) {
	t.Parallel()
	quoted := func(url string) string { return fmt.Sprintf(`{"data":{"barcode":"x","url":%q}}`, url) }
	for name, tt := range map[string]struct {
		status int
		body   string
		err    string
	}{
		"usable":                {200, quoted(otpauth), ""},
		"a picture is ignored":  {200, `{"data":{"barcode":{"not":"text"},"url":"` + otpauth + `"}}`, ""},
		"no JSON":               {200, otpauth, "not Vault's JSON"},
		"nothing":               {200, ``, "not Vault's JSON"},
		"null":                  {200, `null`, "without a secret"},
		"no data":               {200, `{"data":null}`, "without a secret"},
		"a number as URL":       {200, `{"data":{"url":5}}`, "not Vault's JSON"},
		"of another kind":       {200, quoted(strings.Replace(otpauth, "totp", "hotp", 1)), "not an otpauth"},
		"too large":             {200, `{"x":"` + strings.Repeat("a", 1<<20) + `"}`, "larger than"},
		"a warning we know not": {200, `{"warnings":["the moon is wrong"]}`, "without a secret"},
		"one is there":          {200, `{"warnings":["Entity already has a secret for MFA method \"x\""]}`, "already"},
		"refused":               {403, `{"errors":["permission denied"]}`, "vault answered 403: permission denied"},
		"community Vault":       {404, `{"errors":["no handler for route"]}`, "vault answered 404"},
		"a page of a proxy":     {502, `<html>` + otpauth, "vault answered 502"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("X-Vault-Token") != "" || r.URL.Path != "/v1/identity/mfa/method/totp/self-enroll" || r.Method != http.MethodPost {
					t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
				}
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body))
			}))
			t.Cleanup(srv.Close)
			e, err := connect(t, srv.URL).SelfEnrol(t.Context(), mfa.Challenge{RequestID: "r"}, "m1")
			if tt.err == "" && (err != nil || e.Secret.Reveal() != seedText) {
				t.Errorf("%+v, %v", e, err)
			}
			if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), seedText)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestParseOTPAuth(t *testing.T) {
	t.Parallel()
	with := func(change ...string) string { return strings.NewReplacer(change...).Replace(otpauth) }
	plain := vault.Enrolment{Secret: seedText, Issuer: "Vault", Account: "0d6c2f0e", Algorithm: "SHA1", Digits: 6, Period: 30}
	changed := func(change func(*vault.Enrolment)) vault.Enrolment {
		e := plain
		change(&e)
		return e
	}
	for name, tt := range map[string]struct {
		url  string
		want vault.Enrolment // the zero value is an error
	}{
		"as Vault writes it":    {otpauth, plain},
		"defaults":              {"otpauth://totp/Vault:0d6c2f0e?secret=" + seedText, plain},
		"other parameters":      {with("SHA1", "SHA512", "digits=6", "digits=8", "period=30", "period=60"), changed(func(e *vault.Enrolment) { e.Algorithm, e.Digits, e.Period = "SHA512", 8, 60 })},
		"lower case":            {with(seedText, strings.ToLower(seedText)), plain},
		"a parameter of others": {otpauth + "&image=http%3A%2F%2Fevil", plain},
		"issuer with marks":     {with("issuer=Vault", "issuer=M%C3%BCller+A%26B%20C"), changed(func(e *vault.Enrolment) { e.Issuer = "Müller+A&B C" })},
		"no label":              {with("/Vault:0d6c2f0e", ""), changed(func(e *vault.Enrolment) { e.Account = "" })},
		"no issuer":             {with("Vault:", "", "&issuer=Vault", ""), changed(func(e *vault.Enrolment) { e.Issuer = "" })},
		"a label of a stranger": {with("0d6c2f0e", "%1B%5B2J%E2%80%AE"), changed(func(e *vault.Enrolment) { e.Account = "\x1b[2J\u202e" })},

		"not a URL":             {"otpauth://totp/%zz", vault.Enrolment{}},
		"web page":              {with("otpauth://totp", "https://totp"), vault.Enrolment{}},
		"counter":               {with("totp", "hotp"), vault.Enrolment{}},
		"a user in it":          {with("totp/", "me@totp/"), vault.Enrolment{}},
		"a port":                {with("totp/", "totp:80/"), vault.Enrolment{}},
		"a fragment":            {otpauth + "#x", vault.Enrolment{}},
		"no secret":             {with(seedText, ""), vault.Enrolment{}},
		"two secrets":           {otpauth + "&secret=" + seedText, vault.Enrolment{}},
		"two issuers":           {otpauth + "&issuer=Vault", vault.Enrolment{}},
		"not base32":            {with(seedText, "JBSWY3DPEHPK3PX1"), vault.Enrolment{}},
		"half a character":      {with(seedText, "JBS"), vault.Enrolment{}},
		"line end in it":        {with(seedText, "JBSW%0AY3DP"), vault.Enrolment{}},
		"secret too long":       {with(seedText, strings.Repeat("A", 136)), vault.Enrolment{}},
		"algorithm of our own":  {with("SHA1", "MD5"), vault.Enrolment{}},
		"empty algorithm":       {with("SHA1", ""), vault.Enrolment{}},
		"seven digits":          {with("digits=6", "digits=7"), vault.Enrolment{}},
		"digits with a sign":    {with("digits=6", "digits=%2B6"), vault.Enrolment{}},
		"no period":             {with("period=30", "period=0"), vault.Enrolment{}},
		"a period of ages":      {with("period=30", "period=99999999999999999999"), vault.Enrolment{}},
		"label too long":        {with("0d6c2f0e", strings.Repeat("a", 257)), vault.Enrolment{}},
		"label that is no text": {with("0d6c2f0e", "%ff"), vault.Enrolment{}},
		"parameters malformed":  {otpauth + "&x=%z", vault.Enrolment{}},
		"too long":              {otpauth + "&x=" + strings.Repeat("a", 2048), vault.Enrolment{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := vault.ParseOTPAuth(secret.Secret(tt.url))
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
		e, err := vault.ParseOTPAuth(secret.Secret(url))
		if err != nil {
			if e != (vault.Enrolment{}) {
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
		again, err := vault.ParseOTPAuth(secret.Secret("otpauth://totp/?secret=" + text))
		if err != nil || again.Secret != e.Secret {
			t.Errorf("the secret is not in its own form: %v", err)
		}
	})
}

package relay_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache/secret"
)

// mounts plays the part of package stepup for logins with the factor in their body.
type mounts struct {
	calls
	at    func(ctx context.Context, l mfa.MountLogin, send stepup.SendLogin) (*http.Response, mfa.Verdict, error)
	renew func(*http.Response) (*http.Response, mfa.Verdict, error)
}

func (m *mounts) BodyLogin(ctx context.Context, l mfa.MountLogin, q rule.Request, send stepup.SendLogin) (stepup.Decision, error) {
	m.note("%d %s %s", l.Kind, l.Mount, place(q))
	if m.at != nil {
		resp, v, err := m.at(ctx, l, send)
		return decision(resp, v), err
	}
	resp, err := send(ctx, l.Body)
	return stepup.PassThrough{Response: resp}, err
}

func (m *mounts) Renew(ctx context.Context, subject secret.Secret, q rule.Request, send func(context.Context) (*http.Response, error)) (stepup.Decision, error) {
	m.note("renew %s %s", subject.Reveal(), place(q))
	resp, err := send(ctx)
	if err != nil || m.renew == nil {
		return stepup.PassThrough{Response: resp}, err
	}
	resp, v, err := m.renew(resp)
	return decision(resp, v), err
}

// withMounts configures an Okta mount and a legacy one.
func withMounts(m *mounts) func(*relay.Config) {
	return func(c *relay.Config) {
		c.Mounts = relay.Mounts{Okta: []string{"auth/team/okta"}, Legacy: []string{"auth/ldap"}}
		play(c, m)
	}
}

const ldapLogin = "/v1/auth/ldap/login/alice"

// mirror answers with what it got.
func mirror(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %d %q %q", r.Method, r.RequestURI, r.ContentLength, r.TransferEncoding, body)
}

// mirrored is what mirror says of a request.
func mirrored(request, body string) string {
	return fmt.Sprintf("%s %d [] %q", request, len(body), body)
}

func TestBodyFactorLoginIsFound(t *testing.T) {
	t.Parallel()
	type test struct{ request, token, want string }
	tests := map[string]test{
		"okta":                           {"POST /v1/auth/team/okta/login/alice", "", "1 auth/team/okta auth/team/okta/login/alice"},
		"put":                            {"PUT /v1/auth/team/okta/login/alice", "", "1 auth/team/okta auth/team/okta/login/alice"},
		"with a token of before":         {"PUT /v1/auth/team/okta/login/alice", "t", "1 auth/team/okta auth/team/okta/login/alice"},
		"a user with slashes":            {"POST /v1/auth/team/okta/login/a/b", "", "1 auth/team/okta auth/team/okta/login/a/b"},
		"a user at a host":               {"POST /v1/auth/team/okta/login/a%40b.example", "", "1 auth/team/okta auth/team/okta/login/a@b.example"},
		"a user called login":            {"POST /v1/auth/ldap/login/login", "", "2 auth/ldap auth/ldap/login/login"},
		"in a namespace":                 {"POST /v1/ns1/ns2/auth/ldap/login/alice", "", "2 auth/ldap auth/ldap/login/alice in ns1/ns2"},
		"the name is in the body":        {"POST /v1/auth/ldap/login", "", "2 auth/ldap auth/ldap/login"},
		"okta has it in the path":        {"POST /v1/auth/team/okta/login", "", ""},
		"a secret of that name":          {"POST /v1/kv/data/auth/ldap/login/alice", "t", ""},
		"a read":                         {"GET /v1/auth/ldap/login/alice", "", ""},
		"a delete":                       {"DELETE /v1/auth/ldap/login/alice", "", ""},
		"another mount":                  {"POST /v1/auth/ldap2/login/alice", "", ""},
		"a mount that ends like it":      {"POST /v1/auth/xauth/ldap/login/alice", "", ""},
		"its configuration":              {"POST /v1/auth/ldap/config", "", ""},
		"a slash at the end":             {"POST /v1/auth/ldap/login/", "", ""},
		"the middle of another's login":  {"POST /v1/auth/ldap/users/login/x", "t", ""},
		"renewal of its own":             {"POST /v1/auth/token/renew-self", "tok", "renew tok auth/token/renew-self"},
		"renewal in a namespace":         {"PUT /v1/ns1/auth/token/renew-self", "tok", "renew tok auth/token/renew-self in ns1"},
		"renewal of another":             {"PUT /v1/auth/token/renew", "tok", "renew other auth/token/renew"},
		"renewal by accessor":            {"PUT /v1/auth/token/renew-accessor", "tok", "renew acc auth/token/renew-accessor"},
		"renewal without a token":        {"PUT /v1/auth/token/renew-self", "", ""},
		"a secret called like a renewal": {"PUT /v1/kv/data/auth/token/renew", "tok", ""},
		"a lookup":                       {"POST /v1/auth/token/lookup", "tok", ""},
	}
	each(t, tests, func(t *testing.T, tt test) {
		m := &mounts{}
		f := newFixture(t, upstream(t, mirror), withMounts(m))
		const body = `{"token":"other", "accessor":"acc"}`
		var header []string
		if tt.token != "" {
			header = []string{"X-Vault-Token", tt.token}
		}
		equal(t, "vault got", mirrored(tt.request, body), f.send(t, tt.request, body, header...).Body)
		equal(t, "calls", tt.want, strings.Join(m.noted(), "; "))
	})
}

// What cannot be read as a login goes as it came, with one line in the log.
func TestBodyFactorLoginThatCannotBeRead(t *testing.T) {
	t.Parallel()
	each(t, map[string]string{
		"too large": `{"password":"` + strings.Repeat("x", 2<<20) + `"}`, "no object": `["p"]`, "cut off": `{"password":`,
	}, func(t *testing.T, body string) {
		m := &mounts{}
		f := newFixture(t, upstream(t, mirror), withMounts(m))
		got := f.send(t, "POST "+ldapLogin, body, "Content-Type", "application/json").Body
		if want := mirrored("POST "+ldapLogin, body); got != want {
			t.Errorf("vault got %.80s, want %.80s", got, want)
		}
		if m.noted() != nil || strings.Count(f.log.String(), "relayed as it is") != 1 || strings.Contains(f.log.String(), "xxx") {
			t.Errorf("resolver %v, log %s", m.noted(), f.log)
		}
	})
}

func TestBodyFactorLoginIsSentWithMore(t *testing.T) {
	t.Parallel()
	m := &mounts{at: func(ctx context.Context, l mfa.MountLogin, send stepup.SendLogin) (*http.Response, mfa.Verdict, error) {
		first, err := send(ctx, l.Body.With("passcode", "1"))
		if err != nil {
			return nil, mfa.Verdict{}, err
		}
		_ = first.Body.Close()
		resp, err := send(ctx, l.Body.With("method", "push"))
		return resp, mfa.Verdict{Outcome: mfa.Approved}, err
	}}
	f := newFixture(t, upstream(t, mirror), withMounts(m))
	// In chunks, as some clients send it.
	resp, got := fetch(t, f.request(t, "POST "+ldapLogin+"?x=%2f", io.MultiReader(strings.NewReader(`{"password":"p"}`))))
	equal(t, "vault got", mirrored("POST "+ldapLogin+"?x=%2f", `{"method":"push","password":"p"}`), got)
	equal(t, "outcome", "approved", resp.Header.Get(relay.Outcome))
}

// A standby that redirects says where the login is, while it is still going on.
func TestBodyFactorLoginKnowsItsNode(t *testing.T) {
	t.Parallel()
	active := upstream(t, mirror)
	standby := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, active+r.RequestURI, http.StatusTemporaryRedirect)
	})
	var nodes []string
	m := &mounts{at: func(ctx context.Context, l mfa.MountLogin, send stepup.SendLogin) (*http.Response, mfa.Verdict, error) {
		nodes = append(nodes, l.Node())
		resp, err := send(ctx, l.Body)
		nodes = append(nodes, l.Node())
		return resp, mfa.Verdict{}, err
	}}
	f := newFixture(t, standby, withMounts(m))
	if got := f.logIn(t, ldapLogin); !strings.Contains(got.Body, "password") {
		t.Errorf("answer %+v", got)
	}
	equal(t, "nodes", []string{"", active}, nodes)
}

// A redirect may not lead a password and a code to another path.
func TestBodyFactorLoginStaysOnItsPath(t *testing.T) {
	t.Parallel()
	other := upstream(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s got the login", r.RequestURI) })
	standby := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other+"/v1/auth/ldap/login/mallory", http.StatusTemporaryRedirect)
	})
	m := &mounts{at: func(ctx context.Context, l mfa.MountLogin, send stepup.SendLogin) (*http.Response, mfa.Verdict, error) {
		resp, err := send(ctx, l.Body)
		return resp, mfa.Verdict{}, err
	}}
	equal(t, "status", 502, newFixture(t, standby, withMounts(m)).logIn(t, ldapLogin).Status)
}

func TestBodyFactorLoginAnswers(t *testing.T) {
	t.Parallel()
	const token, no = `{"warnings":null,"auth":{"client_token":"t"}}`, `{"errors":["denied"]}`
	says := func(o mfa.Outcome) mfa.Verdict { return mfa.Verdict{Outcome: o, Message: "stepup: x"} }
	ok, unasked := mfa.Verdict{Outcome: mfa.Approved}, mfa.Verdict{Outcome: mfa.Unavailable, Message: "stepup: x", NoPrompt: true}
	held := reply{403, `{"errors":["stepup: held"]}` + "\n", "denied"}
	type test struct {
		status  int // of Vault; 0 sends nothing
		body    string
		verdict mfa.Verdict
		want    reply
	}
	tests := map[string]test{
		"nothing to do":                    {200, token, mfa.Verdict{}, reply{200, token, ""}},
		"a refusal of Vault's":             {400, no, mfa.Verdict{}, reply{400, no, ""}},
		"approved":                         {200, token, ok, reply{200, token, "approved"}},
		"denied":                           {400, no, says(mfa.Denied), reply{403, `{"errors":["denied","stepup: x"]}` + "\n", "denied"}},
		"cut short":                        {504, "<html>", says(mfa.Unavailable), reply{403, `{"errors":["permission denied","stepup: x"]}` + "\n", "unavailable"}},
		"cooling down":                     {0, "", says(mfa.Cooldown), reply{403, `{"errors":["stepup: x"]}` + "\n", "cooldown"}},
		"no way to ask":                    {200, token, unasked, reply{200, `{"warnings":["stepup: x"],"auth":{"client_token":"t"}}`, "unavailable"}},
		"no way to ask, refused":           {400, no, unasked, reply{400, `{"errors":["denied","stepup: x"]}`, "unavailable"}},
		"held for another factor":          {200, challenge, ok, held},
		"held, and there is no way to ask": {200, challenge, unasked, held},
	}
	each(t, tests, func(t *testing.T, tt test) {
		m := &mounts{at: func(ctx context.Context, l mfa.MountLogin, send stepup.SendLogin) (*http.Response, mfa.Verdict, error) {
			if tt.status == 0 {
				return nil, tt.verdict, nil
			}
			resp, err := send(ctx, l.Body)
			return resp, tt.verdict, err
		}}
		f := newFixture(t, upstream(t, answer(tt.status, tt.body)), withMounts(m))
		f.resolver.login = loginAnswer(0, "", mfa.Verdict{Outcome: mfa.Denied, Message: "stepup: held"})
		equal(t, "answer", tt.want, f.logIn(t, "/v1/auth/team/okta/login/alice"))
	})
}

func TestRenewalAnswers(t *testing.T) {
	t.Parallel()
	m := &mounts{renew: func(resp *http.Response) (*http.Response, mfa.Verdict, error) {
		if resp.StatusCode == 200 {
			return resp, mfa.Verdict{Outcome: mfa.Approved}, nil
		}
		return resp, mfa.Verdict{Outcome: mfa.Denied, Message: "stepup: x"}, nil
	}}
	for _, want := range []reply{{200, `{"errors":["y"]}`, "approved"}, {400, `{"errors":["y","stepup: x"]}`, "denied"}} {
		f := newFixture(t, upstream(t, answer(want.Status, `{"errors":["y"]}`)), withMounts(m))
		equal(t, "answer", want, f.logIn(t, "/v1/auth/token/renew-self", "X-Vault-Token", "t"))
	}
}

// Opening a wrapped answer may mean to log in again, for a batch token. That would ring
// once more.
func TestBodyFactorLoginIsNotDoneAgain(t *testing.T) {
	t.Parallel()
	var sent calls
	address := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		sent.note("%s", r.URL.Path)
		answer(200, wrappedChallenge)(w, r)
	})
	f := newFixture(t, address, withMounts(&mounts{}), func(c *relay.Config) { c.Unwrapper = opens(`{"auth":{"client_token":"hvb.x"}}`) })
	equal(t, "answer", wrappedChallenge, f.logIn(t, ldapLogin, "X-Vault-Wrap-Ttl", "60s").Body)
	equal(t, "vault saw", []string{ldapLogin}, sent.noted())
}

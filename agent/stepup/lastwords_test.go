package stepup_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/prompt"
)

// The last line of a notice says how the wait for an approval ended.
func TestLastWordsOfAnApproval(t *testing.T) {
	run(t, map[string]struct {
		end   func(f *fixture)
		words []string
	}{
		"approved":            {func(f *fixture) { f.vault.change(func(g *group) { g.approveAt = time.Now() }) }, []string{"approved"}},
		"locked":              {func(f *fixture) { f.state.Cancel() }, []string{"given up here; the request for approval stays open in vault until it expires"}},
		"gone at vault":       {func(f *fixture) { f.vault.change(func(g *group) { g.pollErr = refusesPoll(400) }) }, []string{"the request for approval has ended"}},
		"no approval in time": {func(*fixture) {}, []string{"not approved yet; the next try goes on waiting"}},
	}, func(t *testing.T, tt struct {
		end   func(f *fixture)
		words []string
	}) {
		f := newFixture(t, nil)
		watching, stop := context.WithCancel(t.Context())
		events := f.broker.Watch(watching, false)
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.await(t.Context(), payroll(time.Minute))
		}()
		pass(20 * time.Second)
		tt.end(f)
		<-done
		synctest.Wait()
		stop()
		var words []string
		for e := range events {
			if e.Type == prompt.EventDone {
				words = append(words, e.Request.Message)
			}
		}
		equal(t, "last words", tt.words, words)
	})
}

// A login that brings its own factor and does not reach Vault is an error for the app, and
// nothing is remembered of it.
func TestLoginWithItsOwnFactorIsNotSent(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		refused := errors.New("connection refused")
		f.up.serve = func(context.Context, string) (*http.Response, error) { return nil, refused }
		body, err := mfa.ReadLoginBody("", []byte(`{"password":"p","nonce":"n"}`))
		if err != nil {
			t.Fatal(err)
		}
		login := mfa.MountLogin{Kind: mfa.OktaMount, Mount: "auth/okta", Body: body}
		f.of(f.resolver.BodyLogin(t.Context(), login, loginsAt[mfa.OktaMount], f.up.sendBody)).check(t, want{err: refused, status: none})
	})
}

// What is remembered of a caller under a rule: a token only where there is one, under a rule
// that makes one, and for a caller that has a token of its own.
func TestStanding(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		tokens := func(of ...bool) []bool { return of }
		has := func() []bool {
			return tokens(
				f.resolver.Standing(t.Context(), deploy(), "tok").Cached,
				f.resolver.Standing(t.Context(), deploy(), "").Cached,
				f.resolver.Standing(t.Context(), prod("totp"), "tok").Cached,
			)
		}
		equal(t, "without a token", tokens(false, false, false), has())
		header := keyOf("tok")
		header.Rule = "prod"
		f.cached(t, keyOf("tok"), "s1")
		f.cached(t, keyOf(""), "s2")
		f.cached(t, header, "s3")
		equal(t, "with tokens", tokens(true, false, false), has())
		if s := f.resolver.Standing(t.Context(), deploy(), "tok"); s.Token.Secret != "" || s.Token.Expires.IsZero() {
			t.Errorf("token %+v", s.Token)
		}
	})
}

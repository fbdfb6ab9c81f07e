package stepup_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
)

// obtain asks for the token of deploy's rule under another namespace spelling
// than requests have, which must not matter.
func (s *fixture) obtain(ctx context.Context, token secret.Secret) mfa.Verdict {
	return s.resolver.Obtain(ctx, deploy().Rule, "/root/", token)
}

func TestObtain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.codes("000000", "111111", "no", "222222")
		s.vault.mint = mintsWith("totp:111111", "new", "newer")
		if v := s.obtain(t.Context(), "tok"); v.Outcome != mfa.Approved {
			t.Fatalf("%+v", v)
		}
		if v := s.obtain(t.Context(), "tok"); v.Outcome != mfa.Cached {
			t.Errorf("again: %+v", v)
		}
		// The request finds what was got for it, and nobody else does.
		up := &sending{right: "token new"}
		if resp, v, err := first(t.Context(), s, deploy(), up); err != nil || v.Outcome != mfa.Cached || resp.StatusCode != 200 {
			t.Errorf("request: %+v, %v", v, err)
		}
		if v := s.obtain(t.Context(), "other"); v.Outcome != mfa.Denied {
			t.Errorf("another caller: %+v", v)
		}
		if v := s.obtain(t.Context(), "other"); v.Outcome != mfa.Cooldown {
			t.Errorf("after a no: %+v", v)
		}
		if asked := s.person.messages(); len(asked) != 3 {
			t.Errorf("asked %q", asked)
		}
	})
}

// A token that Vault no longer knows is no token.
func TestObtainReplacesTheDead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.codes("111111", "111112")
		s.vault.mint = func(context.Context, vault.MintRequest) (*http.Response, error) { return minted("new", 300, 0), nil }
		s.obtain(t.Context(), "tok")
		s.vault.lookup = dead()
		if v := s.obtain(t.Context(), "tok"); v.Outcome != mfa.Approved || len(s.vault.mints) != 2 {
			t.Errorf("%+v after %d mints", v, len(s.vault.mints))
		}
	})
}

// One question for a request and an obtain that come together; whoever leaves
// takes nothing away from the other.
func TestObtainSharesTheFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		release := make(chan struct{})
		s.vault.mint = func(context.Context, vault.MintRequest) (*http.Response, error) {
			<-release
			return minted("new", 300, 0), nil
		}
		s.person.codes("111111")
		leaving, leave := context.WithCancel(t.Context())
		left := make(chan mfa.Verdict, 1)
		go func() { left <- s.obtain(leaving, "tok") }()
		stays := make(chan mfa.Verdict, 1)
		go func() { stays <- s.obtain(t.Context(), "tok") }()
		synctest.Wait()
		leave()
		if v := <-left; v.Outcome != mfa.Unavailable {
			t.Errorf("who left: %+v", v)
		}
		close(release)
		if v := <-stays; v.Outcome != mfa.Approved {
			t.Errorf("who stayed: %+v", v)
		}
		if asked := s.person.messages(); len(asked) != 1 {
			t.Errorf("asked %q", asked)
		}
	})
}

func TestObtainForASilentRule(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		quiet := *deploy().Rule
		quiet.Silent = true
		quiet.Grant.TTL = time.Minute
		v := s.resolver.Obtain(t.Context(), &quiet, "", "tok")
		if v.Outcome != mfa.Unavailable || !strings.HasPrefix(v.Message, "stepup: ") || len(s.person.messages()) != 0 {
			t.Errorf("%+v", v)
		}
	})
}

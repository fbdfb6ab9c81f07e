package stepup_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

// alive is a test on a fixture on which the caller "tok" has a step-up token, "old".
func alive(t *testing.T, one func(t *testing.T, f *fixture)) {
	t.Helper()
	bubble(t, func(t *testing.T, f *fixture) { one(t, f.withOld(t)) })
}

func (f *fixture) withOld(t *testing.T) *fixture {
	t.Helper()
	f.cached(t, keyOf("tok"), "old")
	f.up.right = "token old"
	return f
}

// last is what a request of "tok" is sent with, and how that ends.
func (f *fixture) last(t *testing.T) (sent string, outcome mfa.Outcome) {
	t.Helper()
	r := f.first(t.Context(), deploy())
	if r.err != nil {
		t.Fatal(r.err)
	}
	return f.up.sent[len(f.up.sent)-1], r.v.Outcome
}

// sends makes sure that a request is sent with that line, and ends so.
func (f *fixture) sends(t *testing.T, line string, outcome mfa.Outcome) {
	t.Helper()
	sent, got := f.last(t)
	equal(t, "sent", [2]string{line, string(outcome)}, [2]string{sent, string(got)})
}

// Before a cached token is used, the caller's own token is known to be alive: looked up once,
// and again after five seconds.
func TestCachedUseLooksTheCallerUp(t *testing.T) {
	alive(t, func(t *testing.T, f *fixture) {
		for _, lookups := range []int{1, 1, 1, 2, 2, 2, 3} {
			f.sends(t, "token old", mfa.Cached)
			equal(t, "look-ups", lookups, f.vault.callerAsked)
			time.Sleep(2 * time.Second)
		}
	})
}

// An express lane gets no token that has to be counted, and none of a caller that is not known to
// be alive at this moment.
func TestTokenOfAnExpressLane(t *testing.T) {
	type test struct {
		change func(t *testing.T, f *fixture)
		ok     bool
	}
	run(t, map[string]test{
		"there":           {func(*testing.T, *fixture) {}, true},
		"not there":       {func(t *testing.T, f *fixture) { _ = f.tokens.Delete(t.Context(), keyOf("tok")) }, false},
		"the caller died": {func(_ *testing.T, f *fixture) { f.vault.dies() }, false},
		"Vault does not tell": {func(_ *testing.T, f *fixture) {
			f.vault.caller = func() (vault.TokenInfo, error) { return vault.TokenInfo{}, errors.New("reset") }
		}, false},
		"ended meanwhile": {func(t *testing.T, f *fixture) {
			f.vault.caller = func() (vault.TokenInfo, error) {
				return vault.TokenInfo{}, f.tokens.Delete(t.Context(), keyOf("tok"))
			}
		}, false},
		"of so many uses": {func(t *testing.T, f *fixture) {
			token, _ := f.tokens.Get(t.Context(), keyOf("tok"))
			token.Uses = 2
			_ = f.tokens.Put(t.Context(), keyOf("tok"), token)
		}, false},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil).withOld(t)
		tt.change(t, f)
		use, ok := f.resolver.Cached(t.Context(), deploy(), "tok")
		if ok != tt.ok || ok && use.Token.Secret != "old" {
			t.Errorf("Cached = %v, %t", use, ok)
		}
	})
}

// Requests at once wait for one look-up. When the one that asks leaves, another asks.
func TestOneLookupForMany(t *testing.T) {
	alive(t, func(t *testing.T, f *fixture) {
		f.vault.delay = time.Second
		leaving, leave := context.WithCancel(t.Context())
		go f.first(leaving, deploy())
		synctest.Wait()
		time.AfterFunc(time.Millisecond, leave)
		together(50, func(int) { f.first(t.Context(), deploy()).check(t, want{outcome: mfa.Cached}) })
		equal(t, "look-ups", 2, f.vault.callerAsked)
	})
}

// After the death of the caller's own token its step-up token serves nothing more and ends, and
// Vault answers to the dead one. No prompt is shown, whichever server it is.
func TestDeadCallerLosesItsTokens(t *testing.T) {
	type test struct {
		text  string
		match rule.Match
	}
	run(t, map[string]test{
		"Vault deploy": {deadText, deploy()}, "Vault secure": {deadText, secure()},
		"OpenBao deploy": {bareText, deploy()}, "OpenBao secure": {bareText, secure()},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil).withOld(t)
		f.last(t)
		f.vault.caller = func() (vault.TokenInfo, error) { return vault.TokenInfo{}, statusError(403, tt.text) }
		time.Sleep(5 * time.Second)
		f.sends(t, "", "")
		equal(t, "ended", []stepup.Caller{{Vault: "corp https://vault", Identity: "hmac-tok"}}, f.ended)
		f.stepUp(t.Context(), tt.match).check(t, want{status: none, asked: nothing})
	})
}

// Where the step-up token of a caller is dead, and so is the caller, nothing of it serves any more.
func TestCallerIsDeadAsItsToken(t *testing.T) {
	alive(t, func(t *testing.T, f *fixture) {
		f.last(t)
		f.vault.dies()
		f.vault.lookup, f.up.right = dead(), "-"
		f.sends(t, "", "") // the caller was alive a moment ago
		equal(t, "ended", []stepup.Caller{{Vault: "corp https://vault", Identity: "hmac-tok"}}, f.ended)
	})
}

// revoking is a store that is told of a revocation while it takes a token.
type revoking struct {
	stepup.Tokens
	revoked func()
}

func (r revoking) Put(ctx context.Context, k cache.Key, t cache.Token) error {
	r.revoked()
	return r.Tokens.Put(ctx, k, t)
}

// A revocation ends the tokens that are in the store. One that comes there at this moment is
// not missed: its caller is looked up once more.
func TestRevokedWhileItsTokenIsStored(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.change(func(c *stepup.Config) {
			c.Tokens = revoking{f.tokens, func() {
				f.vault.dies()
				f.resolver.Revoked("tok", "")
			}}
		})
		f.vault.mint = mints("totp:111111", "new")
		f.person.codes("111111")
		f.stepUp(t.Context(), deploy()).check(t, want{outcome: mfa.Unavailable, text: "does not know your token", sent: nothing})
		if _, err := f.tokens.Get(t.Context(), keyOf("tok")); err == nil {
			t.Error("the token of a revoked caller is in the store")
		}
	})
}

// While Vault cannot be asked, a caller that was alive half a minute ago is served. After that
// it gets Vault's own answer. Its token stays.
func TestCallerDuringAnOutage(t *testing.T) {
	run(t, map[string]error{
		"unreachable":     errors.New("connection refused"),
		"sealed":          statusError(http.StatusServiceUnavailable, "Vault is sealed"),
		"too many":        statusError(http.StatusTooManyRequests),
		"a proxy's 403":   statusError(http.StatusForbidden),
		"unknown refusal": statusError(http.StatusForbidden, "go away"),
	}, func(t *testing.T, err error) {
		f := newFixture(t, nil).withOld(t)
		f.last(t)
		f.vault.caller = func() (vault.TokenInfo, error) { return vault.TokenInfo{}, err }
		for _, tt := range []struct {
			wait time.Duration
			sent string
		}{{6 * time.Second, "token old"}, {23 * time.Second, "token old"}, {2 * time.Second, ""}} {
			time.Sleep(tt.wait)
			sent, _ := f.last(t)
			equal(t, "sent", tt.sent, sent)
		}
		f.stepUp(t.Context(), deploy()).check(t, want{outcome: mfa.Unavailable, asked: nothing})
		f.vault.caller = nil
		sent, _ := f.last(t)
		equal(t, "sent afterwards", "token old", sent)
		equal(t, "ended", 0, len(f.ended))
	})
}

// A look-up is one use of a token that is limited in them. The last one serves one request, as
// it would at Vault, and proves nothing for a prompt.
func TestCallerWithUses(t *testing.T) {
	alive(t, func(t *testing.T, f *fixture) {
		uses := 2
		f.vault.caller = func() (vault.TokenInfo, error) {
			switch uses--; uses {
			case 1:
				return vault.TokenInfo{Uses: 1}, nil
			case 0:
				return vault.TokenInfo{Uses: -1}, nil // Vault's number for the last one
			}
			return vault.TokenInfo{}, dead()
		}
		for _, want := range []string{"token old", "token old", ""} {
			sent, _ := f.last(t)
			equal(t, "sent", want, sent)
			time.Sleep(5 * time.Second)
		}
		equal(t, "ended", 1, len(f.ended))
		uses = 1
		f.stepUp(t.Context(), deploy()).check(t, want{asked: nothing})
	})
}

// A revocation that Vault has confirmed ends the tokens of that caller at once, and every other
// caller has to be looked up again.
func TestRevokedThroughUs(t *testing.T) {
	caller := stepup.Caller{Vault: "corp https://vault", Identity: "hmac-tok"}
	byAccessor := stepup.Caller{Vault: "corp https://vault", Accessor: "acc"}
	type test struct {
		token    secret.Secret
		accessor string
		ended    []stepup.Caller
	}
	run(t, map[string]test{
		"by token":          {token: "tok", ended: []stepup.Caller{caller}},
		"by accessor":       {accessor: "acc", ended: []stepup.Caller{caller, byAccessor}},
		"of another":        {token: "else", ended: []stepup.Caller{{Vault: "corp https://vault", Identity: "hmac-else"}}},
		"of an unknown one": {},
		"other accessor":    {accessor: "xyz", ended: []stepup.Caller{{Vault: "corp https://vault", Accessor: "xyz"}}},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil).withOld(t)
		f.vault.caller = func() (vault.TokenInfo, error) { return vault.TokenInfo{Accessor: "acc"}, nil }
		f.last(t)
		f.resolver.Revoked(tt.token, tt.accessor)
		equal(t, "ended", tt.ended, f.ended)
		f.vault.dies()
		f.sends(t, "", "")
	})
}

// The answer of a look-up that was under way during a revocation is not kept.
func TestLookupOlderThanTheRevocation(t *testing.T) {
	alive(t, func(t *testing.T, f *fixture) {
		f.vault.delay = time.Second
		go f.first(t.Context(), deploy())
		synctest.Wait()
		f.resolver.Revoked("", "")
		time.Sleep(2 * time.Second)
		f.last(t)
		equal(t, "look-ups", 2, f.vault.callerAsked)
	})
}

// The state remembers so many callers; the oldest is looked up again.
func TestCallersAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.up.right = "token old"
		lookedUp := func(i int) bool {
			token := fmt.Sprint("caller", i)
			f.cached(t, keyOf(token), "old")
			before := f.vault.lookups
			r := f.of(f.resolver.First(t.Context(), deploy(), secret.Secret(token), f.up.send))
			_ = f.tokens.Delete(t.Context(), keyOf(token))
			if r.v.Outcome != mfa.Cached || r.err != nil {
				t.Fatalf("%+v %v", r.v, r.err)
			}
			return f.vault.lookups > before
		}
		for i := range 4097 {
			if !lookedUp(i) {
				t.Fatalf("%d was not looked up", i)
			}
		}
		if lookedUp(4096) || lookedUp(1) || !lookedUp(0) {
			t.Error("the oldest one, and no other, is to be forgotten")
		}
	})
}

// A prompt needs a look-up of this moment: a caller that was alive a second ago, and whose
// step-up token has died with it, gets Vault's own answer.
func TestNoPromptOnARememberedLookup(t *testing.T) {
	run(t, map[string]rule.Match{"deploy": deploy(), "secure": secure()}, func(t *testing.T, m rule.Match) {
		f := newFixture(t, nil).withOld(t)
		f.last(t)
		f.vault.callerDead, f.vault.lookup, f.up.right = true, dead(), "-"
		time.Sleep(time.Second)
		f.stepUp(t.Context(), m).check(t, want{asked: nothing})
		f.sends(t, "", "")
		equal(t, "prompts, ended", [2]int{0, 1}, [2]int{len(f.person.asked), len(f.ended)})
	})
}

// The denial of a live token proves the caller; any other refusal is looked into.
func TestProvenByTheDenial(t *testing.T) {
	type test struct {
		match   rule.Match
		proven  bool
		outcome mfa.Outcome
		lookups int
	}
	run(t, map[string]test{
		"deploy proven true": {deploy(), true, mfa.Denied, 0}, "deploy proven false": {deploy(), false, "", 1},
		"secure proven true": {secure(), true, mfa.Denied, 0}, "secure proven false": {secure(), false, "", 1},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.person.codes("no", "no")
		f.vault.callerDead = true
		tt.match.Proven = tt.proven
		f.stepUp(t.Context(), tt.match).check(t, want{outcome: tt.outcome})
		equal(t, "look-ups", tt.lookups, f.vault.callerAsked)
	})
}

// A person may take a minute for an answer. When the caller has died meanwhile, a login grant,
// which needs nothing of it, gives it nothing.
func TestCallerDiesDuringThePrompt(t *testing.T) {
	alive(t, func(t *testing.T, f *fixture) {
		f.person.codes("40s teatime")
		f.vault.login = func(context.Context, string) (*http.Response, error) {
			f.vault.dies()
			return minted("fresh", 300, 0), nil
		}
		if r := f.stepUp(t.Context(), secure()); r.v.OK() {
			t.Errorf("served: %+v", r.v)
		}
		equal(t, "ended", 1, len(f.ended))
	})
}

// A header grant reads the 403 of the capability probe as any other: a token that Vault does not
// know makes no prompt.
func TestHeaderGrantOfADeadCaller(t *testing.T) {
	type test struct {
		probe string // Vault says it to the probe
		dead  bool
		want  want
	}
	run(t, map[string]test{
		"Vault":                         {probe: deadText, dead: true},
		"OpenBao":                       {probe: bareText, dead: true},
		"OpenBao, of another namespace": {probe: bareText, want: want{outcome: mfa.Unavailable}},
		"without the default policy":    {probe: "1 error occurred:\n\t* permission denied\n\n", want: want{outcome: mfa.Unavailable}},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.vault.probeErr, f.vault.callerDead = statusError(403, tt.probe), tt.dead
		tt.want.asked = nothing
		f.stepUp(t.Context(), prod("totp")).check(t, tt.want)
	})
}

// A revocation through the agent ends a token that is just stored, although the look-up of its
// caller was answered before.
func TestRevokedWhileTheTokenIsStored(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.vault.delay, f.up.right = time.Second, "token fresh"
		m := secure()
		m.Proven = true
		f.person.codes("teatime")
		f.vault.login = inOrder(minted("fresh", 300, 0))
		var r result
		var all sync.WaitGroup
		all.Go(func() { r = f.stepUp(t.Context(), m) })
		pass(100 * time.Millisecond) // the look-up is under way, and will say "alive"
		f.vault.dies()
		f.resolver.Revoked("tok", "")
		if all.Wait(); r.resp != nil {
			t.Errorf("served with %d after the revocation", r.resp.StatusCode)
		}
	})
}

// A question must say which process asks: that is looked up while Vault answers the request.
func TestProcessIsLookedUpMeanwhile(t *testing.T) {
	for name, m := range map[string]rule.Match{"header": prod("totp"), "token": deploy(), "push": prod("okta")} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fixture) {
				looked := make(chan struct{})
				ctx := peer.NewContext(t.Context(), sync.OnceValue(func() peer.Peer { close(looked); return peer.Peer{PID: 7} }))
				f.up.serve = func(context.Context, string) (*http.Response, error) {
					<-looked // or for ever
					return answer(200, "ok"), nil
				}
				f.first(ctx, m).check(t, want{status: 200})
			})
		})
	}
}

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

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A kept is a fixture on which the caller "tok" has a step-up token, "old", that is
// good for ten minutes.
type kept struct {
	*fixture
	up    *sending
	ended []stepup.Caller
}

func newKept(t *testing.T) *kept {
	t.Helper()
	k := &kept{up: &sending{right: "token old"}}
	k.fixture = newFixture(t, func(c *stepup.Config) {
		c.End = func(who stepup.Caller) {
			k.ended = append(k.ended, who)
			_ = k.tokens.Delete(context.Background(), keyOf("tok"))
		}
	})
	now := time.Now()
	old := cache.Token{Secret: "old", Created: now, Expires: now.Add(10 * time.Minute)}
	if err := k.tokens.Put(t.Context(), keyOf("tok"), old); err != nil {
		t.Fatal(err)
	}
	return k
}

func keyOf(token string) cache.Key {
	return cache.Key{Vault: "corp https://vault", Identity: "hmac-" + token, Rule: "deploy"}
}

// get is a request of "tok", and what it was sent with.
func (k *kept) get(t *testing.T) (sent string, v mfa.Verdict) {
	t.Helper()
	_, v, err := k.resolver.First(t.Context(), deploy(), "tok", k.up.send)
	if err != nil {
		t.Fatal(err)
	}
	return k.up.lines[len(k.up.lines)-1], v
}

// Before a cached token is used, the caller's own token is known to be alive: asked
// once, and again after five seconds.
func TestCachedUseAsksForTheCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t)
		for i, want := range []int{1, 1, 1, 2, 2, 2, 3} {
			if sent, v := k.get(t); sent != "token old" || v.Outcome != mfa.Cached || k.vault.callerAsked != want {
				t.Errorf("request %d: sent %q, %+v, %d look-ups, want %d", i, sent, v, k.vault.callerAsked, want)
			}
			time.Sleep(2 * time.Second)
		}
	})
}

// Requests at once wait for one look-up. When the one that asks leaves, another asks.
func TestOneLookupForMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t)
		leaving, leave := context.WithCancel(t.Context())
		k.resolver = newSlow(k, time.Second)
		go func() { _, _, _ = k.resolver.First(leaving, deploy(), "tok", k.up.send) }()
		synctest.Wait()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if _, v, err := k.resolver.First(t.Context(), deploy(), "tok", k.up.send); v.Outcome != mfa.Cached || err != nil {
					t.Errorf("%+v %v", v, err)
				}
			})
		}
		synctest.Wait()
		leave()
		all.Wait()
		if k.vault.callerAsked != 2 {
			t.Errorf("%d look-ups", k.vault.callerAsked)
		}
	})
}

// A slow Vault looks tokens up in its own time.
type slow struct {
	*fakeVault
	delay time.Duration
}

func (s slow) LookupSelf(ctx context.Context, token secret.Secret, namespace string) (vault.TokenInfo, error) {
	info, err := s.fakeVault.LookupSelf(ctx, token, namespace)
	select {
	case <-time.After(s.delay):
		return info, err
	case <-ctx.Done():
		return vault.TokenInfo{}, ctx.Err()
	}
}

// newSlow is a resolver for k whose Vault takes that long.
func newSlow(k *kept, delay time.Duration) verdicts {
	c := k.config
	c.Vault = slow{k.vault, delay}
	return verdicts{stepup.New(c)}
}

// After the death of the caller's own token its step-up token serves nothing more and
// ends, and Vault answers to the dead one. Nobody is asked, whichever server it is.
func TestDeadCallerLosesItsTokens(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"Vault": deadText, "OpenBao": bareText} {
		for _, m := range []rule.Match{deploy(), secure()} {
			t.Run(name+" "+m.Rule.Name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					k := newKept(t)
					k.get(t)
					k.vault.caller = func() (vault.TokenInfo, error) {
						return vault.TokenInfo{}, &vault.StatusError{Status: 403, Errors: []string{text}}
					}
					time.Sleep(5 * time.Second)
					if sent, v := k.get(t); sent != "" || v.Outcome != "" {
						t.Errorf("sent %q, %+v", sent, v)
					}
					if d := cmp.Diff([]stepup.Caller{{Vault: "corp https://vault", Identity: "hmac-tok"}}, k.ended); d != "" {
						t.Error(d)
					}
					if resp, v := k.resolver.StepUp(t.Context(), m, "tok", k.up.send); resp != nil || v.Outcome != "" || len(k.person.asked) > 0 {
						t.Errorf("%+v after %d questions", v, len(k.person.asked))
					}
				})
			})
		}
	}
}

// While Vault cannot be asked, a caller that was alive half a minute ago is served;
// after that it gets Vault's own answer. Its token stays.
func TestCallerOfASilentVault(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"unreachable":     errors.New("connection refused"),
		"sealed":          &vault.StatusError{Status: http.StatusServiceUnavailable, Errors: []string{"Vault is sealed"}},
		"too many":        &vault.StatusError{Status: http.StatusTooManyRequests},
		"a proxy's 403":   &vault.StatusError{Status: http.StatusForbidden},
		"unknown refusal": &vault.StatusError{Status: http.StatusForbidden, Errors: []string{"go away"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKept(t)
				k.get(t)
				k.vault.caller = func() (vault.TokenInfo, error) { return vault.TokenInfo{}, err }
				var sent []string
				for _, wait := range []time.Duration{6 * time.Second, 23 * time.Second, 2 * time.Second} {
					time.Sleep(wait)
					line, _ := k.get(t)
					sent = append(sent, line)
				}
				if d := cmp.Diff([]string{"token old", "token old", ""}, sent); d != "" {
					t.Error(d)
				}
				if v := stepUp(t, k.fixture, deploy()); v.Outcome != mfa.Unavailable || len(k.person.asked) > 0 {
					t.Errorf("%+v after %d questions", v, len(k.person.asked))
				}
				k.vault.caller = nil
				if line, _ := k.get(t); line != "token old" || len(k.ended) > 0 {
					t.Errorf("afterwards: sent %q, ended %v", line, k.ended)
				}
			})
		})
	}
}

func stepUp(t *testing.T, s *fixture, m rule.Match) mfa.Verdict {
	t.Helper()
	_, v := s.resolver.StepUp(t.Context(), m, "tok", (&sending{}).send)
	return v
}

// A look-up is one use of a token that is limited in them. The last one serves one
// request, as it would at Vault, and proves nothing for a question.
func TestCallerWithUses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t)
		uses := 2
		k.vault.caller = func() (vault.TokenInfo, error) {
			switch uses--; uses {
			case 1:
				return vault.TokenInfo{Uses: 1}, nil
			case 0:
				return vault.TokenInfo{Uses: -1}, nil // Vault's word for the last one
			}
			return vault.TokenInfo{}, dead()
		}
		var sent []string
		for range 3 {
			line, _ := k.get(t)
			sent = append(sent, line)
			time.Sleep(5 * time.Second)
		}
		if d := cmp.Diff([]string{"token old", "token old", ""}, sent); d != "" || len(k.ended) != 1 {
			t.Errorf("ended %v: %s", k.ended, d)
		}
		uses = 1
		if v := stepUp(t, k.fixture, deploy()); v.Outcome != "" || len(k.person.asked) > 0 {
			t.Errorf("asked with the last use: %+v", v)
		}
	})
}

// A revocation that Vault has confirmed ends the tokens of that caller at once, and
// every other caller has to be looked up again.
func TestRevokedThroughUs(t *testing.T) {
	t.Parallel()
	caller := stepup.Caller{Vault: "corp https://vault", Identity: "hmac-tok"}
	byAccessor := stepup.Caller{Vault: "corp https://vault", Accessor: "acc"}
	type test struct {
		token    secret.Secret
		accessor string
		ended    []stepup.Caller
	}
	tests := map[string]test{
		"by token":       {token: "tok", ended: []stepup.Caller{caller}},
		"by accessor":    {accessor: "acc", ended: []stepup.Caller{caller, byAccessor}},
		"of another":     {token: "else", ended: []stepup.Caller{{Vault: "corp https://vault", Identity: "hmac-else"}}},
		"of who knows":   {},
		"other accessor": {accessor: "xyz", ended: []stepup.Caller{{Vault: "corp https://vault", Accessor: "xyz"}}},
	}
	run(t, tests, func(t *testing.T, tt test) {
		k := newKept(t)
		k.vault.caller = func() (vault.TokenInfo, error) { return vault.TokenInfo{Accessor: "acc"}, nil }
		k.get(t)
		k.resolver.Revoked(tt.token, tt.accessor)
		if d := cmp.Diff(tt.ended, k.ended); d != "" {
			t.Error(d)
		}
		k.ended = nil
		k.vault.caller = func() (vault.TokenInfo, error) { return vault.TokenInfo{}, dead() }
		if line, v := k.get(t); line != "" || v.Outcome != "" {
			t.Errorf("served: sent %q, %+v", line, v)
		}
	})
}

// The answer of a look-up that was under way during a revocation is not kept.
func TestLookupOlderThanTheRevocation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t)
		k.resolver = newSlow(k, time.Second)
		go func() { _, _, _ = k.resolver.First(t.Context(), deploy(), "tok", k.up.send) }()
		synctest.Wait()
		k.resolver.Revoked("", "")
		time.Sleep(2 * time.Second)
		k.get(t)
		if k.vault.callerAsked != 2 {
			t.Errorf("%d look-ups", k.vault.callerAsked)
		}
	})
}

// What is remembered of callers is bounded; the oldest is looked up again.
func TestCallersAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		asked := func(i int) bool {
			token := fmt.Sprint("caller", i)
			now := time.Now()
			if err := s.tokens.Put(t.Context(), keyOf(token), cache.Token{Secret: "old", Created: now, Expires: now.Add(time.Minute)}); err != nil {
				t.Fatal(err)
			}
			before := s.vault.lookups
			_, v, err := s.resolver.First(t.Context(), deploy(), secret.Secret(token), (&sending{right: "token old"}).send)
			_ = s.tokens.Delete(t.Context(), keyOf(token))
			if v.Outcome != mfa.Cached || err != nil {
				t.Fatalf("%+v %v", v, err)
			}
			return s.vault.lookups > before
		}
		for i := range 4097 {
			if !asked(i) {
				t.Fatalf("%d was not looked up", i)
			}
		}
		if asked(4096) || asked(1) || !asked(0) {
			t.Error("the oldest one, and no other, is to be forgotten")
		}
	})
}

// A question needs an answer of this moment: a caller that was alive a second ago, and
// whose step-up token has died with it, gets Vault's own answer.
func TestNoQuestionOnARememberedLife(t *testing.T) {
	t.Parallel()
	for _, m := range []rule.Match{deploy(), secure()} {
		t.Run(m.Rule.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKept(t)
				k.get(t)
				k.vault.callerDead, k.vault.lookup = true, dead()
				k.up.right = "-"
				time.Sleep(time.Second)
				if v := stepUp(t, k.fixture, m); v.Outcome != "" || len(k.person.asked) > 0 {
					t.Errorf("%+v after %d questions", v, len(k.person.asked))
				}
				if sent, v := k.get(t); sent != "" || v.Outcome != "" || len(k.person.asked) > 0 || len(k.ended) != 1 {
					t.Errorf("sent %q, %+v after %d questions, ended %v", sent, v, len(k.person.asked), k.ended)
				}
			})
		})
	}
}

// The denial of a live token proves the caller; any other refusal is looked into.
func TestProvenByTheDenial(t *testing.T) {
	t.Parallel()
	for _, m := range []rule.Match{deploy(), secure()} {
		for _, proven := range []bool{true, false} {
			t.Run(fmt.Sprint(m.Rule.Name, " proven ", proven), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newFixture(t, nil)
					s.person.codes("no", "no")
					s.vault.callerDead = true
					m.Proven = proven
					want := map[bool]mfa.Outcome{true: mfa.Denied}[proven]
					if v := stepUp(t, s, m); v.Outcome != want {
						t.Errorf("%+v", v)
					}
					if want := map[bool]int{false: 1}[proven]; s.vault.callerAsked != want {
						t.Errorf("%d look-ups", s.vault.callerAsked)
					}
				})
			})
		}
	}
}

// A person may take a minute for an answer. When the caller has died meanwhile, a
// login grant, which needs nothing of it, gives it nothing.
func TestCallerDiesDuringTheQuestion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t)
		m := secure()
		k.person.codes("teatime")
		k.person.thinks(40 * time.Second)
		k.vault.login = func(context.Context, vault.LoginRequest) (*http.Response, error) {
			k.vault.caller = func() (vault.TokenInfo, error) { return vault.TokenInfo{}, dead() }
			return minted("fresh", 300, 0), nil
		}
		if v := stepUp(t, k.fixture, m); v.OK() {
			t.Errorf("served: %+v", v)
		}
		if len(k.ended) != 1 {
			t.Errorf("ended %v", k.ended)
		}
	})
}

// A header grant reads the 403 of the capability probe as any other: a token that
// Vault does not know is not asked about.
func TestHeaderGrantOfADeadCaller(t *testing.T) {
	t.Parallel()
	type test struct {
		text    string
		dead    bool
		outcome mfa.Outcome
	}
	run(t, map[string]test{
		"Vault":                         {text: deadText, dead: true},
		"OpenBao":                       {text: bareText, dead: true},
		"OpenBao, of another namespace": {text: bareText, outcome: mfa.Unavailable},
		"without the default policy":    {text: "1 error occurred:\n\t* permission denied\n\n", outcome: mfa.Unavailable},
	}, func(t *testing.T, tt test) {
		s := newFixture(t, nil)
		s.vault.probeErr, s.vault.callerDead = &vault.StatusError{Status: 403, Errors: []string{tt.text}}, tt.dead
		if v := stepUp(t, s, prod("totp")); v.Outcome != tt.outcome || len(s.person.asked) > 0 {
			t.Errorf("%+v after %d questions", v, len(s.person.asked))
		}
	})
}

// A revocation through the agent while a token is landing ends that token, although the
// look-up of its caller was answered before.
func TestRevokedWhileLanding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t)
		if err := k.tokens.Delete(t.Context(), keyOf("tok")); err != nil {
			t.Fatal(err)
		}
		k.resolver = newSlow(k, time.Second)
		m := secure()
		m.Proven = true
		k.person.codes("teatime")
		k.vault.login = func(context.Context, vault.LoginRequest) (*http.Response, error) {
			return minted("fresh", 300, 0), nil
		}
		var resp *http.Response
		var ended sync.WaitGroup
		ended.Go(func() {
			resp, _ = k.resolver.StepUp(t.Context(), m, "tok", (&sending{right: "token fresh"}).send)
		})
		time.Sleep(100 * time.Millisecond)
		synctest.Wait() // the look-up is under way, and will say "alive"
		k.vault.caller = func() (vault.TokenInfo, error) { return vault.TokenInfo{}, dead() }
		k.resolver.Revoked("tok", "")
		ended.Wait()
		if resp != nil {
			t.Errorf("served with %d after the revocation", resp.StatusCode)
		}
	})
}

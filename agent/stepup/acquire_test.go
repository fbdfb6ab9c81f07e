package stepup_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
)

func TestMintRefused(t *testing.T) {
	type test struct {
		status       int
		body         string
		capabilities []string
		outcome      mfa.Outcome
		text         string
		mints        int
	}
	may, no := []string{"update"}, []string{"deny"}
	run(t, map[string]test{
		"wrong codes":         {403, generic, may, mfa.Rejected, "did not accept", 3},
		"may not mint at all": {403, generic, no, mfa.Unavailable, "may not create tokens at auth/token/create/stepup", 0},
		"dead token":          {403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`, may, mfa.Unavailable, "invalid token", 1},
		"bad role":            {400, `{"errors":["unknown role stepup"]}`, may, mfa.Unavailable, "unknown role stepup", 1},
		"no token in it":      {200, `{"data":{}}`, may, mfa.Unavailable, "without a token", 1},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.person.codes("111111", "222222", "333333")
		f.vault.capabilities, f.vault.mint = tt.capabilities, always(tt.status, tt.body)
		f.stepUp(t.Context(), deploy()).check(t, want{outcome: tt.outcome, text: tt.text})
		equal(t, "mints", tt.mints, len(f.vault.mints))
		if tt.mints == 0 && len(f.person.asked) > 0 {
			t.Errorf("asked for nothing: %v", f.person.asked)
		}
	})
}

// A mint that pushes is asked about as a request that pushes is. Vault's answer to a push is
// final.
func TestMintThatPushes(t *testing.T) {
	run(t, map[string]test{
		"confirmed": {
			match: minting("okta"), config: confirmPush, codes: []string{"yes"}, right: "okta", delay: 5 * time.Second,
			want: want{outcome: mfa.Approved, sent: []string{"okta"},
				asked: []string{"confirm okta 1/3 " + sendPush, "push okta 1/3 "}},
		},
		"no push wanted": {
			match: minting("okta"), config: confirmPush, codes: []string{"no"},
			want: want{outcome: mfa.Denied, text: "was denied", asked: []string{"confirm okta 1/3 " + sendPush}},
		},
		"Duo, a code": {
			match: minting("duo"), codes: []string{"1234567"}, right: "duo:passcode=1234567",
			want: want{outcome: mfa.Approved, sent: []string{"duo:passcode=1234567"},
				asked: []string{"passcode duo 1/3 " + codeOrPush}},
		},
		"Duo, a wrong code, then the push": {
			match: minting("duo"), codes: []string{"000000", "push"}, right: "duo",
			want: want{outcome: mfa.Approved, sent: []string{"duo:passcode=000000", "duo"}},
		},
		"Duo, the push refused": {
			match: minting("duo"), codes: []string{"push"}, right: "-", delay: 9 * time.Second,
			want: want{outcome: mfa.Denied, text: "refused on the phone", sent: []string{"duo"},
				asked: []string{"passcode duo 1/3 " + codeOrPush, "push duo 1/3 "}},
		},
		"the push refused at once": {
			match: minting("okta"), right: "-",
			want: want{outcome: mfa.Denied, text: "refused on the phone", sent: []string{"okta"}},
		},
		"a load balancer drops it": {
			match: minting("okta"), serve: after(time.Minute, always(504, "<html>504</html>")),
			want: want{outcome: mfa.Timeout, text: "load balancer", sent: []string{"okta"}},
		},
		"the provider is down": {
			match: minting("okta"),
			serve: after(30*time.Second, always(403, `{"errors":["Get \"https://corp.okta.com/\": dial tcp: i/o timeout"]}`)),
			want:  want{outcome: mfa.Unavailable, text: "corp.okta.com", sent: []string{"okta"}},
		},
	}, func(t *testing.T, tt test) {
		f := tt.fixture(t)
		var sent []string
		f.vault.mint = func(ctx context.Context, line string) (*http.Response, error) {
			sent = append(sent, line)
			switch {
			case tt.serve != nil:
				return tt.serve(ctx, line)
			case line == tt.right:
				return after(tt.delay, inOrder(minted("new", 300, 0)))(ctx, line)
			}
			return after(tt.delay, always(403, generic))(ctx, line)
		}
		f.up.serve, f.up.right, f.up.delay = nil, "token new", 0
		want := tt.want
		want.sent = nil
		f.stepUp(t.Context(), tt.match).check(t, want)
		equal(t, "minted", tt.want.sent, sent)
	})
}

// minting is deploy with another method.
func minting(method string) rule.Match {
	m := deploy()
	m.Rule.Methods = []string{method}
	return m
}

// A connection that breaks during a push counts as the answer of a gateway does: no second push
// follows at once.
func TestConnectionBreaksWhileItPushes(t *testing.T) {
	run(t, map[string]rule.Match{"the request": prod("duo"), "a mint": minting("duo")}, func(t *testing.T, m rule.Match) {
		f := newFixture(t, nil)
		f.person.codes("push")
		pushes := 0
		push := func(context.Context, string) (*http.Response, error) {
			pushes++
			time.Sleep(time.Minute)
			return nil, io.ErrUnexpectedEOF
		}
		f.vault.mint = push
		f.up.serve = func(ctx context.Context, line string) (*http.Response, error) {
			if line != "" {
				return push(ctx, line)
			}
			return answer(403, generic), nil
		}
		for _, outcome := range []mfa.Outcome{mfa.Timeout, mfa.Cooldown} {
			r := f.first(t.Context(), m)
			if r.v.Outcome == "" && r.err == nil {
				r = f.stepUp(t.Context(), m)
			}
			r.check(t, want{outcome: outcome, text: "load balancer"})
		}
		equal(t, "pushes", 1, pushes)
	})
}

// A thousand requests of one caller make one prompt and one mint.
func TestOneAcquisition(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.says("10s 111111")
		f.vault.mint, f.up.right = mints("totp:111111", "new"), "token new"
		together(crowd, func(i int) {
			time.Sleep(time.Duration(i) * time.Millisecond)
			f.request(t.Context(), deploy()).check(t, want{outcome: mfa.Approved, status: 200})
		})
		f.acquiredOnce(t)
	})
}

// acquiredOnce makes sure that there was one prompt and one mint.
func (f *fixture) acquiredOnce(t *testing.T) {
	t.Helper()
	equal(t, "prompts and mints", [2]int{1, 1}, [2]int{len(f.person.messages()), len(f.vault.mints)})
}

func TestDenialAnswersAllWaiters(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("10s no")
		together(100, func(int) { f.request(t.Context(), deploy()).check(t, want{outcome: mfa.Denied}) })
		f.request(t.Context(), deploy()).check(t, want{outcome: mfa.Cooldown})
		equal(t, "prompts", 1, len(f.person.messages()))
	})
}

// Two callers, and two rules, do not wait for each other's mint.
func TestAcquisitionsAreIndependent(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("000001", "000002", "000003", "000004", "000005", "000006")
		f.vault.mintFor = func(r vault.MintRequest) (*http.Response, error) {
			time.Sleep(time.Minute)
			return minted("for-"+r.Token.Reveal(), 300, 0), nil
		}
		started := time.Now()
		other := deploy()
		other.Rule.Name = "other"
		rules := []rule.Match{deploy(), other}
		together(6, func(i int) {
			caller := []secret.Secret{"a", "b", "c"}[i/2]
			mine := *f
			mine.up = &upstream{right: "token for-" + caller.Reveal()}
			mine.stepUpOf(t.Context(), rules[i%2], caller).check(t, want{outcome: mfa.Approved})
		})
		if took := time.Since(started); took > 61*time.Second || len(f.vault.mints) != 6 {
			t.Errorf("%d mints took %s", len(f.vault.mints), took)
		}
	})
}

// The acquisition outlives the app that started it: a late answer fills the cache.
func TestAcquisitionOutlivesItsStarter(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("30s 111111")
		f.vault.mint, f.up.right = mints("totp:111111", "new"), "token new"
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if r := f.request(ctx, deploy()); r.v.OK() {
			t.Errorf("app that left got %+v", r.v)
		}
		time.Sleep(time.Minute)
		f.request(t.Context(), deploy()).check(t, want{outcome: mfa.Cached})
	})
}

// stepup lock ends acquisitions: the token that they would have got is not there.
func TestLockEndsAcquisitions(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("111111", "222222")
		f.vault.mint = after(time.Hour, nil)
		var all sync.WaitGroup
		all.Go(func() {
			f.stepUp(t.Context(), deploy()).check(t, want{outcome: mfa.Denied, text: "stepup lock"})
		})
		synctest.Wait()
		f.state.Cancel()
		all.Wait()
		f.vault.mint, f.up.right = mints("totp:222222", "new"), "token new"
		f.stepUp(t.Context(), deploy()).check(t, want{outcome: mfa.Approved})
	})
}

// A lock waits for the acquisitions before it, and not for one that starts meanwhile.
func TestLockWaitsForEarlierAcquisitionsOnly(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("111111", "222222")
		f.up.right = "token new"
		started, answer := make(chan struct{}), make(chan struct{})
		var all sync.WaitGroup
		f.vault.mint = func(ctx context.Context, _ string) (*http.Response, error) {
			if len(f.vault.mints) == 2 {
				close(started)
				<-answer
				return minted("new", 300, 0), nil
			}
			<-ctx.Done()
			all.Go(func() { f.stepUpOf(t.Context(), deploy(), "late").check(t, want{outcome: mfa.Approved}) })
			<-started
			return nil, ctx.Err()
		}
		all.Go(func() { f.stepUpOf(t.Context(), deploy(), "early").check(t, want{outcome: mfa.Denied}) })
		synctest.Wait()
		locked := make(chan struct{})
		go func() {
			defer close(locked)
			f.state.Cancel()
		}()
		synctest.Wait()
		select {
		case <-locked:
		default:
			t.Error("the lock waits for an acquisition that began after it")
		}
		close(answer)
		all.Wait()
		<-locked
	})
}

// Vault may take its time to refuse a token that was revoked: the one that another request has
// got by then is used, not forgotten.
func TestLateDenialLeavesTheNewToken(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.cached(t, keyOf("tok"), "old")
		f.vault.lookup = dead()
		f.person.codes("111111", "no")
		f.vault.mint = mints("totp:111111", "new")
		together(2, func(i int) {
			mine := *f // each has an upstream of its own
			mine.up = &upstream{right: "token new", delay: []time.Duration{10 * time.Second, time.Second}[i]}
			mine.request(t.Context(), deploy()).check(t, want{outcome: mfa.Approved, status: 200})
		})
		f.acquiredOnce(t)
	})
}

// No request waits for a search through the process table that is about its use of the token:
// that is done while it waits for the person.
func TestWaitersDoNotWaitForLookups(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.says("10s 111111")
		f.vault.mint, f.up.right = mints("totp:111111", "new"), "token new"
		var lookedUp atomic.Int32
		release := make(chan struct{})
		together(20, func(i int) {
			ctx := peer.NewContext(t.Context(), sync.OnceValue(func() peer.Peer {
				lookedUp.Add(1)
				if i > 0 {
					<-release
				}
				return peer.Peer{}
			}))
			if i > 0 { // the first is asked about
				time.Sleep(time.Second)
			}
			f.stepUp(ctx, deploy()).check(t, want{outcome: mfa.Approved})
		})
		close(release)
		time.Sleep(time.Minute)
		equal(t, "looked up", 20, int(lookedUp.Load()))
	})
}

// obtain asks for the token of deploy's rule under another namespace spelling than requests
// have, which must not matter.
func (f *fixture) obtain(ctx context.Context, token secret.Secret) result {
	return result{f: f, v: f.resolver.Obtain(ctx, deploy().Rule, "/root/", token)}
}

func TestObtain(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("000000", "111111", "no", "222222")
		f.vault.mint, f.up.right = mints("totp:111111", "new", "newer"), "token new"
		f.obtain(t.Context(), "tok").check(t, want{outcome: mfa.Approved})
		f.obtain(t.Context(), "tok").check(t, want{outcome: mfa.Cached})
		// The request finds what was got for it; another caller does not.
		f.request(t.Context(), deploy()).check(t, want{outcome: mfa.Cached, status: 200})
		f.obtain(t.Context(), "other").check(t, want{outcome: mfa.Denied})
		f.obtain(t.Context(), "other").check(t, want{outcome: mfa.Cooldown})
		equal(t, "prompts", 3, len(f.person.messages()))
	})
}

// A token that Vault no longer knows is no token.
func TestObtainReplacesTheDead(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("111111", "111112")
		f.vault.mint = inOrder(minted("new", 300, 0), minted("new", 300, 0))
		f.obtain(t.Context(), "tok")
		f.vault.lookup = dead()
		f.obtain(t.Context(), "tok").check(t, want{outcome: mfa.Approved})
		equal(t, "mints", 2, len(f.vault.mints))
	})
}

// There is one question for two calls that come together. One that leaves takes nothing away
// from the other.
func TestObtainSharesTheAcquisition(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.vault.mint = after(time.Minute, inOrder(minted("new", 300, 0)))
		f.person.codes("111111")
		leaving, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		together(2, func(i int) {
			if i == 0 {
				f.obtain(leaving, "tok").check(t, want{outcome: mfa.Unavailable})
				return
			}
			f.obtain(t.Context(), "tok").check(t, want{outcome: mfa.Approved})
		})
		equal(t, "prompts", 1, len(f.person.messages()))
	})
}

func TestObtainForARuleThatNeverPrompts(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		m := deploy()
		m.Rule.Silent, m.Rule.Grant.TTL = true, time.Minute
		v := f.resolver.Obtain(t.Context(), m.Rule, "", "tok")
		if v.Outcome != mfa.Unavailable || !strings.HasPrefix(v.Message, "stepup: ") || len(f.person.messages()) != 0 {
			t.Errorf("%+v", v)
		}
	})
}

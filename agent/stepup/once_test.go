package stepup_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/prompt"
)

// Answers of Vault to a read with a step-up token.
const (
	aSecret  = `{"request_id":"1","lease_id":"","renewable":false,"lease_duration":0,"data":{"a":"b"},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}`
	aLease   = `{"request_id":"1","lease_id":"database/creds/x/1","renewable":true,"lease_duration":60,"data":{"username":"u"},"wrap_info":null,"warnings":null,"auth":null}`
	aToken   = `{"request_id":"1","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":null,"warnings":null,"auth":{"client_token":"hvs.x"}}`
	aWrapper = `{"request_id":"","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":{"token":"hvs.w"},"warnings":null,"auth":null}`
)

// serving makes the new token right, with this answer, and no other.
func (f *fixture) serving(body string) {
	f.vault.mint = mints("totp:111111", "new")
	f.up.serve = func(_ context.Context, line string) (*http.Response, error) {
		if line == "token new" {
			return answer(200, body), nil
		}
		return answer(403, generic), nil
	}
}

// closed reads an answer to its end, as the relay does.
func (r result) closed() result {
	_, _ = io.Copy(io.Discard, r.resp.Body)
	_ = r.resp.Body.Close()
	return r
}

// left is what was revoked by now.
func (f *fixture) left(t *testing.T, want ...string) {
	t.Helper()
	got := []string(nil)
	for len(f.revoked) > 0 {
		got = append(got, <-f.revoked)
	}
	equal(t, "revoked", want, got)
}

// With once, the token serves the requests that waited for the question and no other, is in no
// store, and is revoked behind the last answer.
func TestOnce(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.serving(aSecret)
		f.person.codes("10s 111111 once", "no")
		second := make(chan result)
		go func() { second <- f.request(t.Context(), deploy()) }()
		first := f.request(t.Context(), deploy())
		first.check(t, want{outcome: mfa.Approved})
		other := <-second
		other.check(t, want{outcome: mfa.Approved})
		equal(t, "audit", string(audit.Approved)+" once", string(f.audit.last.Event)+" "+f.audit.last.Keep)
		if _, err := f.tokens.Get(t.Context(), keyOf("tok")); err == nil {
			t.Error("the token is in the store")
		}
		first.closed()
		f.left(t)
		other.closed()
		f.left(t, "new")
		equal(t, "questions", 1, len(f.person.asked))
		f.request(t.Context(), deploy()).check(t, want{outcome: mfa.Denied})
		equal(t, "questions", 2, len(f.person.asked))
	})
}

// A step-up ahead that waits for the same question gets no token of once: that is for the
// requests.
func TestOnceIsNoStepUpAhead(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.serving(aSecret)
		f.person.codes("10s 111111 once")
		go func() { f.request(t.Context(), deploy()).closed() }()
		synctest.Wait()
		v := f.resolver.Obtain(t.Context(), deploy().Rule, "", "tok")
		result{f: f, v: v}.check(t, want{outcome: mfa.Unavailable, text: "for one request alone"})
		synctest.Wait()
		f.left(t, "new")
	})
}

// A lease, a token and what is wrapped end with the token that they were got with: it is left
// to its own end, where no store has it.
func TestOnceLeavesWhatHangsOnTheToken(t *testing.T) {
	type test struct {
		body string
		want []string
	}
	run(t, map[string]test{
		"a lease": {aLease, nil}, "a token": {aToken, nil}, "wrapped": {aWrapper, nil}, "no answer of Vault's": {"x", nil},
		"a secret": {aSecret, []string{"new"}}, "nothing": {"", []string{"new"}},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.serving(tt.body)
		f.person.codes("111111 once")
		f.request(t.Context(), deploy()).closed()
		f.left(t, tt.want...)
	})
}

// The app that leaves takes the token with it, and so does one that Vault is not reached for.
func TestOnceWithoutAnAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.serving(aSecret)
		f.person.codes("10s 111111 once")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		f.request(ctx, deploy())
		time.Sleep(time.Minute)
		f.left(t, "new")
	})
}

func TestOnceWithoutVault(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.serving(aSecret)
		serve := f.up.serve
		f.up.serve = func(ctx context.Context, line string) (*http.Response, error) {
			if line == "token new" {
				return nil, errors.New("reset")
			}
			return serve(ctx, line)
		}
		f.person.codes("111111 once")
		f.request(t.Context(), deploy())
		f.left(t, "new")
	})
}

// `vault kv get` looks at the mount and then reads: both are one request to the person. The
// token waits for that read of that process, and no other finds it.
func TestOnceBehindALook(t *testing.T) {
	of := func(t *testing.T, pid int) context.Context {
		return peer.NewContext(t.Context(), func() peer.Peer { return peer.Peer{PID: pid, UID: 1000} })
	}
	at := func(path string, look bool) rule.Match {
		m := deploy()
		m.Request.Path, m.Preflight = path, look
		return m
	}
	type test struct {
		pid     int
		path    string
		look    bool
		after   time.Duration
		outcome mfa.Outcome
	}
	run(t, map[string]test{
		"the read":        {7, "kv/data/deploy/x", false, time.Second, mfa.Cached},
		"another look":    {7, "kv/data/deploy/x", true, time.Second, mfa.Denied},
		"another process": {8, "kv/data/deploy/x", false, time.Second, mfa.Denied},
		"another secret":  {7, "kv/data/deploy/y", false, time.Second, mfa.Denied},
		"too late":        {7, "kv/data/deploy/x", false, time.Minute, mfa.Denied},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.serving(aSecret)
		f.person.codes("111111 once", "no", "no")
		f.request(of(t, 7), at("kv/deploy/x", true)).closed().check(t, want{outcome: mfa.Approved})
		f.left(t)
		time.Sleep(tt.after)
		r := f.request(of(t, tt.pid), at(tt.path, tt.look))
		r.check(t, want{outcome: tt.outcome})
		if tt.outcome != mfa.Cached {
			return
		}
		r.closed()
		f.left(t, "new")
		f.request(of(t, tt.pid), at(tt.path, false)).check(t, want{outcome: mfa.Denied})
	})
}

// A lock while a request is served with a token that was allowed once ends that token, and nothing
// keeps it for the read behind a look: the lock has looked for tokens by then.
func TestOnceEndsWithALock(t *testing.T) {
	type test struct {
		body string
		look bool
		lock func(f *fixture)
	}
	all, one := func(f *fixture) { f.state.Cancel() }, func(f *fixture) { f.state.Acquisitions.CancelRule(deploy().Rule.Name) }
	run(t, map[string]test{
		"of everything":     {aSecret, true, all},
		"of the rule":       {aSecret, true, one},
		"at the read":       {aSecret, false, all},
		"with a lease open": {aLease, false, one},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.serving(tt.body)
		serve := f.up.serve
		f.up.serve = func(ctx context.Context, line string) (*http.Response, error) {
			if line == "token new" {
				tt.lock(f)
			}
			return serve(ctx, line)
		}
		f.person.codes("111111 once", "no")
		ctx := peer.NewContext(t.Context(), func() peer.Peer { return peer.Peer{PID: 7, UID: 1000} })
		m := deploy()
		m.Request.Path, m.Preflight = "kv/deploy/x", tt.look
		f.request(ctx, m).closed().check(t, want{outcome: mfa.Approved})
		f.left(t, "new") // once
		m.Request.Path, m.Preflight = "kv/data/deploy/x", false
		f.request(ctx, m).check(t, want{outcome: mfa.Denied})
	})
}

// A choice holds for the questions after it, which say so, and may be taken back.
func TestKeepHoldsForTheNextQuestion(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.serving(aSecret)
		f.person.codes("999999 once", "888888", "111111 rule")
		f.request(t.Context(), deploy()).check(t, want{outcome: mfa.Approved})
		if _, err := f.tokens.Get(t.Context(), keyOf("tok")); err != nil {
			t.Error("not kept for the time of the rule:", err)
		}
		var offered [][]prompt.Keep
		for _, q := range f.person.asked {
			var words []prompt.Keep
			for _, c := range q.Keeps {
				words = append(words, c.Word)
			}
			offered = append(offered, words)
		}
		equal(t, "offered", [][]prompt.Keep{{"once", "lock"}, {"lock", "rule"}, {"lock", "rule"}}, offered)
		equal(t, "allows", "the requests that wait for it, and no other: you chose once", f.person.asked[1].Allows)
	})
}

// Until a lock, never longer than what is set as the longest: a max_ttl, that of the cache, and
// a ttl that a shared configuration locks. Where that is no longer than the rule's own time,
// there is no such choice. Vault may give less, and that is not renewed.
func TestKeepUntilALock(t *testing.T) {
	type test struct {
		change func(*rule.Rule)
		given  string // by Vault
		asked  time.Duration
		life   time.Duration // less the slack
	}
	run(t, map[string]test{
		"the cache's":   {func(*rule.Rule) {}, "3600", 15 * time.Minute, 15 * time.Minute},
		"the max_ttl":   {func(r *rule.Rule) { r.Grant.MaxTTL = 10 * time.Minute }, "3600", 10 * time.Minute, 10 * time.Minute},
		"Vault's":       {func(*rule.Rule) {}, "420", 15 * time.Minute, 7 * time.Minute},
		"a locked ttl":  {func(r *rule.Rule) { r.Grant.FixedTTL = true }, "", 0, 0},
		"no longer one": {func(r *rule.Rule) { r.Grant.MaxTTL = 5 * time.Minute }, "", 0, 0},
		"no ttl":        {func(r *rule.Rule) { r.Grant.TTL = 0 }, "", 0, 0},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		m := deploy()
		tt.change(m.Rule)
		f.vault.mint, f.up.right = always(200, `{"auth":{"client_token":"new","accessor":"a","lease_duration":`+tt.given+`}}`), "token new"
		f.person.codes("111111 lock")
		r := f.request(t.Context(), m)
		if tt.life == 0 {
			r.check(t, want{outcome: mfa.Unavailable, noPrompt: true}) // such an answer does not fit
			equal(t, "minted", 0, len(f.vault.mints))
			return
		}
		r.check(t, want{outcome: mfa.Approved})
		equal(t, "asked for", tt.asked, f.vault.mints[0].TTL)
		got, err := f.tokens.Get(t.Context(), keyOf("tok"))
		if life := got.Expires.Sub(got.Created); err != nil || got.Keep != "lock" || life > tt.life || life < tt.life-10*time.Second {
			t.Errorf("kept for %s as %q, %v; want %s", life, got.Keep, err, tt.life)
		}
	})
}

// A step-up ahead, one for a single use, and a yes to each use have no once; a header grant
// keeps nothing.
func TestNothingToChoose(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		m := deploy()
		f.person.codes("no", "no", "no")
		f.resolver.Obtain(t.Context(), m.Rule, "", "tok")
		equal(t, "ahead", 1, len(f.person.asked[0].Keeps))
		m.Rule.Grant.NumUses, m.Rule.Grant.TTL = 1, 0
		time.Sleep(time.Minute)
		f.request(t.Context(), m)
		equal(t, "one use", 0, len(f.person.asked[1].Keeps))
	})
}

package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/e2e/gate"
)

// MFA is per request: a second one, by the CLI, prompts again and has a code of its own.
func TestHeaderGrant(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "header")
	p := w.typist(t)
	a := w.agent(t, p)
	client, err := w.server.client(a.addr, w.token)
	check(t, err)
	secret, err := client.KVv2("secret").Get(t.Context(), short(w.path))
	if err != nil || secret.Data["key"] != "value" {
		t.Fatalf("got %v, %v", secret, err)
	}
	q := p.wantAsked(t, 1)[0]
	self, err := os.Executable()
	check(t, err)
	if q.Kind != "passcode" || q.Rule != "secure" || q.Path != w.path || q.Operation != "read" ||
		q.Method != "corp_totp" || q.MethodType != "totp" || q.Digits != 6 || !q.Deadline.After(time.Now().Add(-time.Minute)) {
		t.Errorf("asked %+v", q)
	}
	if q.Requester.PID != os.Getpid() || q.Requester.Exe != self {
		t.Errorf("requester %+v, want pid %d of %s", q.Requester, os.Getpid(), self)
	}
	if lines := w.sent(); len(lines) != 2 || len(lines[0]) != 0 || len(lines[1]) != 1 {
		t.Errorf("requests with X-Vault-MFA lines %q, want one without and one with", lines)
	}
	vault, _ := cli(t, a.addr, "VAULT_TOKEN="+w.token)
	vault.ok(t, "kv", "get", "-format=json", "-mount=secret", short(w.path)).wantSecret(t)
	p.wantAsked(t, 2)
	if lines := w.sent(); len(lines) != 4 || slices.Equal(lines[1], lines[3]) {
		t.Errorf("a code went out twice: %q", lines)
	}
}

func TestHeaderGrantTwoMethods(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "header", "one", "two")
	p := w.typist(t)
	a := w.agent(t, p)
	w.call("POST", w.path).with(`{"data":{"new":"1"}}`).send(t, a.addr).wantStep(t, 200, "approved")
	equal(t, "the secret", w.server.read(t, w.path).Data["data"], any(map[string]any{"new": "1"}))
	p.wantAsked(t, 2)
	if lines := w.sent(); len(lines) != 2 || len(lines[1]) != 2 {
		t.Errorf("lines %q; want one for each method", lines)
	}
}

// The library takes a denial as a refusal: one request, no repetition.
func TestDeniedToLibrary(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "header")
	a := w.agent(t, denier(t))
	client, err := w.server.client(a.addr, w.token)
	check(t, err)
	_, err = client.Logical().ReadWithContext(t.Context(), w.path)
	if err == nil || !strings.Contains(err.Error(), "stepup: ") {
		t.Errorf("vault/api got %v", err)
	}
	equal(t, "requests", len(w.sent()), 1)
}

// bigBody is a KV write over the 1 MiB that is kept for repetition, and under
// the 1 MiB that Vault allows for a value in JSON.
func bigBody() string {
	value := strings.Repeat("0123456789abcdef", 45<<10) // 720 KiB each
	return fmt.Sprintf(`{"data":{"a":%q,"b":%q}}`, value, value)
}

// A body over what is kept for repetition is asked about first and sent once.
func TestBigBody(t *testing.T) {
	forEveryGrant(t, func(t *testing.T, w *fixture) {
		p := w.typist(t)
		a := w.agent(t, p)
		outcomes := []string{"approved", "cached"}
		if w.kind == "header" {
			outcomes = outcomes[:1]
		}
		for i, outcome := range outcomes {
			path := fmt.Sprintf("%s-big%d", w.path, i)
			post := w.call("POST", path).with(bigBody())
			post.send(t, a.addr).wantStep(t, 200, outcome)
			var seen []gate.Seen
			eventually(t, "the gate is done with it", func() bool {
				seen = w.gate.Seen("/v1/" + path)
				return len(seen) > 0 && seen[len(seen)-1].Done
			})
			factor := len(seen[0].MFA) == 1 && seen[0].Token == w.token
			if len(seen) != 1 || factor != (w.kind == "header") || (seen[0].Token == w.token) != factor || seen[0].Read != int64(len(post.body)) {
				t.Errorf("%d requests; want one, whole, with the factor or the step-up token", len(seen))
			}
		}
		w.wantAsked(t, p, 1)
	})
}

// A request that a code would not help causes no prompt.
func TestHeaderGrantNoPrompt(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "header")
	a := w.agent(t, noPrompt(t))
	tests := map[string]call{ // each as the server itself answers
		"the policy does not grant it": w.call("DELETE", w.path),
		"a bad token":                  request("GET", w.path, "hvs.nonsense"),
		"no token":                     request("GET", w.path, ""),
		"a code of its own":            request("GET", w.path, w.token, "X-Vault-MFA: corp_totp:"+w.codes.wrong()),
		"presence only":                request("GET", w.path, w.token, "X-Vault-MFA: corp_totp"),
		"another path":                 w.call("GET", w.outside),
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			direct, through := c.send(t, w.addr), c.send(t, a.addr)
			through.wantPlain(t, 403)
			wantSame(t, direct, through)
		})
	}
	request("GET", w.path, w.token, "X-Vault-MFA: corp_totp:"+w.codes.next()).send(t, a.addr).wantPlain(t, 200)
	request("GET", w.path, "root").send(t, a.addr).wantPlain(t, 200)
}

// A push has no 403 before it: the request just stays open, and the user is told.
func TestGrantPush(t *testing.T) {
	for name, approve := range map[string]bool{"approved": true, "refused": false} {
		t.Run(name, func(t *testing.T) {
			forGrants(t, func(t *testing.T, w *fixture) {
				decide := make(chan error)
				w.gate.AddPush("corp_totp", held(decide))
				told := silent(t)
				s := w.setup(told)
				s.extra = strings.Replace(s.extra, `type = "totp"`, `type = "duo"`, 1)
				a := w.start(t, s)
				answered := w.get().async(t, a.addr)
				if q := told.wait(t, 0); q.Kind != "push" || q.Method != "corp_totp" || q.MethodType != "duo" || q.Rule != "secure" {
					t.Errorf("told %+v", q)
				}
				if approve {
					decide <- nil
					(<-answered).wantStep(t, 200, "approved")
				} else {
					if w.kind == "header" {
						time.Sleep(slowThumb) // a refusal on a phone takes its time; a quick 403 is none
					}
					decide <- context.Canceled
					(<-answered).wantStep(t, 403, "denied")
				}
				pushed := w.source
				if w.kind == "header" {
					pushed = w.path
				}
				equal(t, "requests, each of them a push", len(w.gate.Seen("/v1/"+pushed)), 1)
				if approve && w.kind == "token" {
					w.get().send(t, a.addr).wantStep(t, 200, "cached")
				}
			}, "header", "token")
		})
	}
}

// Two readers at once are asked one after the other, and each gets a code of its
// own: a code is good for one request.
func TestHeaderGrantTwoAtOnce(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "header")
	var open, most atomic.Int64
	p := newResponder(t, func(context.Context, asked) answer {
		most.Store(max(most.Load(), open.Add(1)))
		defer open.Add(-1)
		return code(w.codes.next())
	})
	a := w.agent(t, p)
	for _, g := range w.get().together(t, a.addr, 2) {
		g.wantStep(t, 200, "approved")
	}
	equal(t, "prompts open at once", most.Load(), 1)
	sent := slices.Concat(w.sent()...)
	if slices.Sort(sent); len(sent) != 2 || len(slices.Compact(sent)) != 2 {
		t.Errorf("codes sent: %q, want one for each reader, and each once", sent)
	}
}

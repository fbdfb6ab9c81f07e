package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestLaw draws requests from callers, tokens, methods, spellings and rules, and holds each answer
// against what Vault gives the same request directly. An answer with more than the caller's own token
// gets is only for a live caller that stepped up, and only where Vault's own reading of policies
// puts the path that Vault routed under the rule; every other answer is the own token's.
//
// STEPUP_E2E_SEED draws the same requests again, STEPUP_E2E_REQUESTS another number of them, and
// STEPUP_E2E_REQUEST only the one of this number.
func TestLaw(t *testing.T) {
	w := newLawWorld(t)
	seed, n, first := number(t, "STEPUP_E2E_SEED", rand.Uint64N(1<<32)), number(t, "STEPUP_E2E_REQUESTS", 20_000), uint64(0)
	if only := os.Getenv("STEPUP_E2E_REQUEST"); only != "" {
		first = number(t, "STEPUP_E2E_REQUEST", 0)
		n = first + 1
	}
	t.Logf("STEPUP_E2E_SEED=%d, %d requests", seed, n-first)
	began := time.Now()
	results := make([]outcome, n-first)
	var next atomic.Uint64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			l := &lawClient{t: t, conns: map[string]*lawConn{}}
			defer l.close()
			for i := next.Add(1) - 1; i < uint64(len(results)); i = next.Add(1) - 1 {
				results[i] = l.try(w.drawLaw(seed, first+i), first+i)
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	w.settle(t, "end")
	j := newJudge(t, w)
	for _, o := range results {
		j.judge(o)
	}
	t.Logf("%d requests in %s: %d answers by a step-up %v, %d of them in breach of the law; %d refused step-ups where there was nothing "+
		"to step up; %d answers that nothing would have got directly", len(results), took.Round(time.Second), j.elevated, j.kinds, j.strayed, j.touched, j.odd)
	for _, g := range w.grants {
		if kept := j.kinds[g.kind]; first == 0 && n >= 5000 && kept < int(n)/250 {
			t.Errorf("only %d answers by a %s grant: this proves nothing", kept, g.kind)
		}
	}
}

func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// An outcome is what became of one request, in three ways.
type outcome struct {
	number         uint64
	draw           draw
	via, own, high answer3
}

// An answer3 is an answer without what differs from time to time.
type answer3 struct {
	text    string // "" when it was not asked for
	outcome string // Stepup-Outcome
	id      string // of the probe
	target  string // where the last redirect led
}

// try sends a request through the agent and directly. Where the answers differ it looks at what a
// step-up token gets directly, and does it all once more when nothing fits: another request may have
// changed what there is.
func (l *lawClient) try(d draw, number uint64) (o outcome) {
	for attempt := range 3 {
		o = outcome{number: number, draw: d}
		id := func(kind string) string { return fmt.Sprintf("%s%d-%d", kind, number, attempt) }
		o.own = l.follow(d.grant.front, d.with(d.tokens), id("own"))
		o.via = l.send(d.grant.agent.addr, d.with(d.tokens), id("via"))
		if o.own.text == o.via.text {
			return o
		}
		for _, c := range l.elevations(d) {
			if o.high = l.follow(d.grant.front, c, id("high")); o.high.text == o.via.text {
				return o
			}
		}
	}
	return o
}

// elevations are the request as the caller's step-ups would make it.
func (l *lawClient) elevations(d draw) (all []call) {
	if d.grant.kind == "header" {
		c := d.with(d.tokens)
		c.header = append(c.header, "X-Vault-MFA: law:"+d.grant.types(l.t.Context(), asked{}).text)
		return []call{c}
	}
	elevated := d.grant.callers[d.holder].elevated
	for _, rule := range slices.Sorted(maps.Keys(elevated)) {
		all = append(all, d.elevatedBy(elevated[rule]))
	}
	return all
}

// A lawClient sends requests as they are written, each worker over connections of its own.
type lawClient struct {
	t     *testing.T
	conns map[string]*lawConn
}

type lawConn struct {
	net.Conn
	r *bufio.Reader
}

func (l *lawClient) close() {
	for _, c := range l.conns {
		c.Close()
	}
}

// follow follows Vault's redirects, as the agent does.
func (l *lawClient) follow(addr string, c call, id string) answer3 {
	for range 5 {
		status, header, a := l.exchange(addr, c, id)
		if a.target = c.target; status != http.StatusTemporaryRedirect && status != http.StatusPermanentRedirect {
			return a
		}
		c.target = header.Get("Location")
		if !strings.HasPrefix(c.target, "/") {
			return a
		}
	}
	return answer3{text: "redirected for ever", id: id}
}

func (l *lawClient) send(addr string, c call, id string) answer3 {
	_, _, a := l.exchange(addr, c, id)
	return a
}

// exchange does one request, over a new connection when the kept one was closed meanwhile.
func (l *lawClient) exchange(addr string, c call, id string) (int, http.Header, answer3) {
	for attempt := 0; ; attempt++ {
		conn, kept := l.conns[addr]
		if !kept {
			raw, err := net.DialTimeout("tcp", strings.TrimPrefix(addr, "http://"), patience)
			if err != nil {
				return 0, nil, answer3{text: err.Error(), id: id}
			}
			conn = &lawConn{raw, bufio.NewReader(raw)}
			l.conns[addr] = conn
		}
		status, header, text, err := conn.do(addr, c, id)
		if err == nil && header.Get("Connection") != "close" {
			return status, header, answer3{text: normalised(status, text), outcome: header.Get("Stepup-Outcome"), id: id}
		}
		conn.Close()
		delete(l.conns, addr)
		if err == nil {
			return status, header, answer3{text: normalised(status, text), outcome: header.Get("Stepup-Outcome"), id: id}
		}
		// A server that answers 400 closes at once, and what it had not read yet has the kernel
		// throw the answer away.
		reset := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
		if attempt >= 10 || !reset && (!kept || attempt > 0) {
			return 0, nil, answer3{text: "no answer: " + err.Error(), id: id}
		}
	}
}

func (c *lawConn) do(addr string, q call, id string) (int, http.Header, []byte, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, nil, nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\n", q.method, q.target, strings.TrimPrefix(addr, "http://"), probe, id)
	for _, h := range q.header {
		b.WriteString(h + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(q.body), q.body)
	if _, err := io.WriteString(c, b.String()); err != nil {
		return 0, nil, nil, err
	}
	resp, err := http.ReadResponse(c.r, &http.Request{Method: q.method})
	if err != nil {
		return 0, nil, nil, err
	}
	text, err := io.ReadAll(resp.Body)
	if resp.Close {
		resp.Header.Set("Connection", "close")
	}
	return resp.StatusCode, resp.Header, text, errors.Join(err, resp.Body.Close())
}

// normalised is a status and a body without what differs from one time to the next, and without the
// agent's own words.
func normalised(status int, body []byte) string {
	var v map[string]any
	if json.Unmarshal(body, &v) != nil {
		return fmt.Sprintf("%d %s", status, body)
	}
	for _, list := range []string{"errors", "warnings"} {
		if all, ok := v[list].([]any); ok {
			v[list] = slices.DeleteFunc(all, func(e any) bool { s, _ := e.(string); return strings.HasPrefix(s, "stepup: ") })
		}
	}
	text, err := json.Marshal(steady(v))
	if err != nil {
		panic(err) // it came from JSON
	}
	return fmt.Sprintf("%d %s", status, text)
}

// steady leaves out times, numbers of versions, and names of what others have written.
func steady(v any) any {
	object, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for name, inner := range object {
		switch name {
		case "request_id", "version", "versions", "current_version", "oldest_version", "created_time", "updated_time", "deletion_time",
			"ttl", "expire_time", "last_renewal", "last_renewal_time", "keys":
			object[name] = "…"
		default:
			object[name] = steady(inner)
		}
	}
	return object
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

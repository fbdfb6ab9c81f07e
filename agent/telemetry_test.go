package agent_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/listener"
	"github.com/vault-stepup/stepup/prompt"
)

// withMetrics opens the listener of the metrics and returns its URL.
func (r *fixture) withMetrics(t *testing.T) string {
	t.Helper()
	r.config.Telemetry.Address = "127.0.0.1:0"
	r.reload(t, r.config)
	return "http://" + r.agent.Status(t.Context()).Telemetry + "/metrics"
}

func scrape(t *testing.T, url string) string {
	t.Helper()
	resp, err := client.Get(url)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%d %v: %s", resp.StatusCode, err, body)
	}
	return string(body)
}

// wantLines checks lines of an exposition.
func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+text, "\n"+line+"\n") {
			name, _, _ := strings.Cut(line, "{")
			var there []string
			for l := range strings.Lines(text) {
				if strings.HasPrefix(l, name) {
					there = append(there, strings.TrimSpace(l))
				}
			}
			t.Errorf("no line %s\nthere is %s", line, strings.Join(there, "\n         "))
		}
	}
}

func TestMetricsOfATokenGrant(t *testing.T) {
	t.Parallel()
	r := newTokenFixture(t)
	url := r.withMetrics(t)
	wantLines(t, scrape(t, url),
		`stepup_requests_total{code="200",vault="corp"} 0`,
		`stepup_prompt_seconds_count{kind="push",outcome="done"} 0`,
		`stepup_challenges_total{grant="token",outcome="approved",rule="deploy"} 0`,
		`stepup_challenges_total{grant="login_mfa",outcome="denied",rule=""} 0`,
		`stepup_cached_tokens{rule="deploy"} 0`,
		`stepup_config_reloads_total{result="success"} 2`, // newTokenFixture has reloaded, too
	)
	for range 3 {
		r.read(t, "kv/data/deploy/web")
	}
	r.read(t, "kv/data/else")
	r.do(t, "GET", "/v1/kv/data/else", "", "Origin", "https://example.com")
	text := scrape(t, url)
	wantLines(t, text,
		`stepup_requests_total{code="200",vault="corp"} 3`,
		`stepup_requests_total{code="403",vault="corp"} 2`,
		`stepup_request_overhead_seconds_count 5`,
		`stepup_challenges_total{grant="token",outcome="approved",rule="deploy"} 1`,
		`stepup_challenges_total{grant="token",outcome="cached",rule="deploy"} 2`,
		`stepup_prompt_seconds_count{kind="passcode",outcome="answered"} 1`,
		`stepup_cache_lookups_total{result="miss"} 1`,
		`stepup_cache_lookups_total{result="hit"} 2`,
		`stepup_cached_tokens{rule="deploy"} 1`,
		`stepup_cached_tokens{rule="secure"} 0`,
		`stepup_prompts_pending 0`,
	)
	// Nothing of a request is in them, and no secret.
	for _, secret := range []string{r.token, "kv/data", "auth/", "alice", "hvs.", "pw"} {
		if strings.Contains(text, secret) {
			t.Errorf("the metrics have %q in them", secret)
		}
	}
}

// Whether a Vault can be reached is found out again after ten seconds, and at
// once under another configuration.
func TestMetricsOfAnUpstream(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	url := r.withMetrics(t)
	up := func(line string) func() bool { return func() bool { return strings.Contains(scrape(t, url), line) } }
	eventually(t, "up", up(`stepup_upstream_up{vault="corp"} 1`))
	r.vault.Close()
	r.reload(t, r.config)
	wantLines(t, scrape(t, url), `stepup_upstream_up{vault="corp"} 0`)
}

// A prompt is no overhead; neither is the turn of a request that waits for it.
func TestMetricsOfAPrompt(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	asked, decided := make(chan struct{}), make(chan struct{})
	r.person = func(ctx context.Context, q prompt.Request) (string, error) {
		close(asked)
		<-decided
		return deny(ctx, q)
	}
	url := r.withMetrics(t)
	var both sync.WaitGroup
	var waited atomic.Int64
	for range 2 {
		both.Go(func() {
			started := time.Now()
			r.read(t, "kv/data/prod/db")
			waited.Add(int64(time.Since(started)))
		})
	}
	wait(t, asked)
	wantLines(t, scrape(t, url), "stepup_prompts_pending 1")
	time.Sleep(think) // the person
	close(decided)
	both.Wait()
	text := scrape(t, url)
	wantLines(t, text,
		"stepup_prompts_pending 0",
		`stepup_prompt_seconds_count{kind="passcode",outcome="denied"} 1`,
		`stepup_requests_total{code="403",vault="corp"} 2`,
	)
	if !strings.Contains(text, `stepup_challenges_total{grant="header",outcome="denied",rule="prod"}`) {
		t.Error("the denial is not counted")
	}
	if took := value(t, text, `stepup_prompt_seconds_sum{kind="passcode",outcome="denied"}`); took < think.Seconds() {
		t.Errorf("the prompt was open for %v s", took)
	}
	wantWithoutPerson(t, text, time.Duration(waited.Load()))
}

// think is how long a person takes.
const think = time.Second

// wantWithoutPerson checks that the time that requests spent in the agent leaves
// out that of the person: what apps have waited is at least the sum of the two.
func wantWithoutPerson(t *testing.T, text string, waited time.Duration) {
	t.Helper()
	if took := value(t, text, "stepup_request_overhead_seconds_sum"); took > (waited - think).Seconds() {
		t.Errorf("%v s in the agent, of %v that apps have waited: the person's time is in it", took, waited)
	}
}

func value(t *testing.T, text, name string) float64 {
	t.Helper()
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			must(t, err)
			return v
		}
	}
	t.Fatalf("no %s", name)
	return 0
}

func TestMetricsListenerIsGuarded(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	url := r.withMetrics(t)
	for _, tt := range []struct {
		name, method, path, host string
		header                   []string
		want                     int
	}{
		{"a scrape", "GET", "/metrics", "", nil, 200},
		{"a query", "GET", "/metrics?name[]=stepup_upstream_up", "", nil, 200},
		{"another path", "GET", "/", "", nil, 404},
		{"vault's API", "GET", "/v1/sys/health", "", nil, 404},
		{"post", "POST", "/metrics", "", nil, 405},
		{"head", "HEAD", "/metrics", "", nil, 405},
		{"a name that was made to lead here", "GET", "/metrics", "evil.example", nil, 421},
		{"a web page", "GET", "/metrics", "", []string{"Origin", "https://evil.example"}, 403},
		{"a browser", "GET", "/metrics", "", []string{"Sec-Fetch-Site", "none"}, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			req, err := http.NewRequestWithContext(t.Context(), tt.method, strings.TrimSuffix(url, "/metrics")+tt.path, nil)
			must(t, err)
			req.Host = tt.host
			for i := 0; i+1 < len(tt.header); i += 2 {
				req.Header.Set(tt.header[i], tt.header[i+1])
			}
			resp, err := client.Do(req)
			must(t, err)
			defer resp.Body.Close()
			if resp.StatusCode != tt.want {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.want)
			}
		})
	}
	if got := r.do(t, "GET", "/metrics", "", "X-Vault-Token", r.token); got.status == 200 {
		t.Errorf("the metrics are on a listener of apps: %+v", got)
	}
}

// The listener of the metrics comes, moves and goes with the configuration; what
// was counted stays.
func TestReloadOfTelemetry(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	if s := r.agent.Status(t.Context()).Telemetry; s != "" {
		t.Errorf("metrics at %q without telemetry", s)
	}
	read := func() { r.read(t, "kv/data/dev/db") }
	read() // not counted
	first := r.withMetrics(t)
	read()
	wantLines(t, scrape(t, first), `stepup_requests_total{code="200",vault="corp"} 1`)
	c := r.config
	c.Telemetry.Address = "[::1]:0"
	if err := r.agent.Reload(t.Context(), c); err != nil {
		if errors.Is(err, listener.ErrUnsafe) {
			t.Fatal(err)
		}
		t.Skipf("needs IPv6 on the loopback interface: %v", err)
	}
	second := "http://" + r.agent.Status(t.Context()).Telemetry + "/metrics"
	wantLines(t, scrape(t, second), `stepup_requests_total{code="200",vault="corp"} 1`, `stepup_config_reloads_total{result="success"} 2`)
	wantClosed(t, first)
	bad := c
	bad.Telemetry.Address = "192.0.2.1:9108"
	if err := r.agent.Reload(t.Context(), bad); !errors.Is(err, listener.ErrUnsafe) {
		t.Errorf("metrics for the network: %v", err)
	}
	wantLines(t, scrape(t, second), `stepup_config_reloads_total{result="failure"} 1`)
	c.Telemetry = agent.Telemetry{}
	r.reload(t, c)
	wantClosed(t, second)
}

// wantClosed checks that no metrics are served at a URL; the socket is closed with the reload.
func wantClosed(t *testing.T, url string) {
	t.Helper()
	address := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/metrics")
	c, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer c.Close()
	// Another test may have been given the number meanwhile; it serves no metrics.
	_, _ = io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: "+address+"\r\nConnection: close\r\n\r\n")
	answer, _ := io.ReadAll(c)
	if strings.Contains(string(answer), "stepup_config_reloads_total") {
		t.Errorf("%s still serves metrics", url)
	}
}

// A wait for a token is no overhead either.
func TestMetricsOfAnAcquisition(t *testing.T) {
	t.Parallel()
	r := newTokenFixture(t)
	url := r.withMetrics(t)
	r.change(t, func(c *agent.Config) { c.Rules[0].Grant.Eager = true })
	r.person = func(ctx context.Context, q prompt.Request) (string, error) {
		time.Sleep(think)
		return r.code(ctx, q)
	}
	started := time.Now()
	r.read(t, "kv/data/deploy/web")
	waited := time.Since(started)
	text := scrape(t, url)
	wantLines(t, text, `stepup_challenges_total{grant="token",outcome="approved",rule="deploy"} 1`)
	wantWithoutPerson(t, text, waited)
}

// A textfile without a listener: requests are counted for it, too, and it ends with the agent.
func TestMetricsInATextfile(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	file := filepath.Join(r.dir, "stepup.prom")
	has := func(line string) func() bool {
		return func() bool {
			raw, err := os.ReadFile(file)
			return err == nil && strings.Contains(string(raw), line+"\n")
		}
	}
	r.config.Telemetry.TextFile = file
	r.reload(t, r.config)
	eventually(t, "the file", has(`stepup_upstream_up{vault="corp"} 1`))
	r.read(t, "kv/data/else")
	// Another file is written at once.
	file = filepath.Join(r.dir, "other.prom")
	r.config.Telemetry.TextFile = file
	r.reload(t, r.config)
	eventually(t, "a request", has(`stepup_request_overhead_seconds_count 1`))
	r.stop()
	if left, err := filepath.Glob(filepath.Join(r.dir, "*.prom")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

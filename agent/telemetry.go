package agent

import (
	"context"
	"net/http"
	"time"

	"github.com/vault-stepup/stepup/agent/listener"
	"github.com/vault-stepup/stepup/agent/metrics"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/prompt"
)

// telemetryNetwork marks the listener of the metrics.
const telemetryNetwork = "telemetry"

// metricsPath is the only one that the listener of the metrics answers on.
const metricsPath = "/metrics"

// collectorTime is how long a connection of another user's collector may live, where
// the metrics are for all users: as long as Prometheus waits for a scrape by default.
const collectorTime = 10 * time.Second

// addresses are all that c wants to have open.
func (c Config) addresses() []Listener {
	if c.Telemetry.Address == "" {
		return c.Listeners
	}
	n := len(c.Listeners)
	return append(c.Listeners[:n:n], c.Telemetry.listener())
}

func (t Telemetry) listener() Listener {
	return Listener{Network: telemetryNetwork, Address: t.Address}
}

// network is what is opened for a listener.
func (l Listener) network() string {
	if l.Network == telemetryNetwork {
		return "tcp"
	}
	return l.Network
}

// measured is the name of the vault that a listener's requests are counted for;
// "" without a telemetry block.
func (a *Agent) measured(l *openListener) string {
	if vault := l.vault.Load(); vault != nil && a.measuring.Load() {
		return *vault
	}
	return ""
}

// serveMetricsLocked gives the listener of the metrics, if there is one, its
// handler, and starts or ends the counting of requests.
func (a *Agent) serveMetricsLocked(t Telemetry) {
	a.measuring.Store(t.Address != "")
	if t.Address == "" {
		return
	}
	l := a.open[t.listener().key()]
	handler := http.Handler(http.HandlerFunc(a.scrape))
	if t.OtherUsers {
		handler = listener.CloseAfterOthers(handler)
		l.SetOtherUsersTime(collectorTime)
	} else {
		// The metrics hold no secret and no path. But the time of a prompt and its rule
		// would let an attacker show a prompt that passes for the expected one.
		handler = a.guard(l.Addr(), false).WrapSameUser("these metrics are for the user that started the agent; set `other_users = true` in the telemetry block to let collectors of other users read them", handler)
		l.SetOtherUsersTime(listener.OtherUsersTime)
	}
	l.SetHandler(handler)
}

// telemetryLocked is where the metrics are, "" where they are off.
func (a *Agent) telemetryLocked() string {
	open, ok := a.open[a.config.Telemetry.listener().key()]
	if !ok {
		return ""
	}
	return open.Addr().String() // the port that was given for :0
}

// scrape answers Prometheus.
func (a *Agent) scrape(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != metricsPath:
		http.Error(w, "the metrics are at /metrics", http.StatusNotFound)
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "metrics are only read, by GET", http.StatusMethodNotAllowed)
	default:
		a.scraper.ServeHTTP(w, r)
	}
}

// expectLocked starts what is counted under c at zero.
func (a *Agent) expectLocked(c Config) {
	for _, v := range c.Vaults {
		a.metrics.ExpectVault(v.Name)
	}
	for _, kind := range []prompt.Kind{prompt.Passcode, prompt.Password, prompt.Choose, prompt.Confirm} {
		a.metrics.ExpectPrompts(string(kind), prompt.EventAnswered)
	}
	a.metrics.ExpectPrompts(string(prompt.Push), prompt.EventDone)
	outcomes := make([]string, 0, len(mfa.Outcomes()))
	for _, o := range mfa.Outcomes() {
		outcomes = append(outcomes, string(o))
	}
	for _, r := range c.Rules {
		if r.Grant.Kind != rule.NoGrant {
			a.metrics.Expect(r.Name, string(r.Grant.Kind), outcomes)
		}
		if r.ControlGroup.Timeout > 0 {
			a.metrics.Expect(r.Name, metrics.ControlGroup, outcomes)
		}
	}
	if c.LoginMFA {
		a.metrics.Expect("", metrics.LoginMFA, outcomes)
	}
}

// scraped is what a scrape reads of the agent. It implements metrics.State.
type scraped struct{ agent *Agent }

var _ metrics.State = scraped{}

// Pending implements metrics.State.
func (s scraped) Pending() int { return s.agent.broker.Len() }

// Cached implements metrics.State.
func (s scraped) Cached() map[string]int {
	s.agent.mu.Lock()
	rules, store := s.agent.config.Rules, s.agent.tokens
	s.agent.mu.Unlock()
	if store == nil {
		return nil
	}
	held := store.Held()
	counts := make(map[string]int)
	for _, r := range rules {
		counts[r.Name] = held[r.Name]
	}
	return counts
}

// probeEvery is how often the upstreams are asked at most, however many scrape.
const probeEvery = 10 * time.Second

// probes is what the last scrape that asked the upstreams found.
type probes struct {
	slot    chan struct{} // held by the scrape that asks, or looks at what is known
	at      time.Time
	serial  int // of the configuration that was asked for
	reached map[string]bool
}

// Upstreams implements metrics.State.
func (s scraped) Upstreams() map[string]bool {
	a := s.agent
	p := &a.probes
	p.slot <- struct{}{} // for two seconds at most
	defer func() { <-p.slot }()
	a.mu.Lock()
	configs, vaults, serial := a.config.Vaults, a.vaults, a.serial
	a.mu.Unlock()
	if age := time.Since(p.at); p.reached != nil && p.serial == serial && age >= 0 && age < probeEvery {
		return p.reached
	}
	reached := make(map[string]bool)
	for _, v := range health(context.Background(), configs, vaults) {
		reached[v.Name] = v.Up
	}
	p.at, p.serial, p.reached = time.Now().Round(0), serial, reached
	return reached
}

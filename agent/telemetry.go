package agent

import (
	"context"
	"time"

	"github.com/vault-stepup/stepup/agent/metrics"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/prompt"
)

// telemetryNetwork marks the listener of the metrics.
const telemetryNetwork = "telemetry"

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

// expect starts what is counted under c at zero.
func expect(m *metrics.Metrics, c Config) {
	for _, v := range c.Vaults {
		m.ExpectVault(v.Name)
	}
	for _, kind := range []prompt.Kind{prompt.Passcode, prompt.Password, prompt.Choose, prompt.Confirm} {
		m.ExpectPrompts(string(kind), prompt.EventAnswered)
	}
	m.ExpectPrompts(string(prompt.Push), prompt.EventDone)
	outcomes := make([]string, 0, len(mfa.Outcomes()))
	for _, o := range mfa.Outcomes() {
		outcomes = append(outcomes, string(o))
	}
	for _, r := range c.Rules {
		if r.Grant.Kind != rule.NoGrant {
			m.Expect(r.Name, string(r.Grant.Kind), outcomes)
		}
		if r.ControlGroup.Timeout > 0 {
			m.Expect(r.Name, metrics.ControlGroup, outcomes)
		}
	}
	if c.LoginMFA.Enabled {
		m.Expect("", metrics.LoginMFA, outcomes)
	}
}

// probeEvery is how often the upstreams are asked at most, however many scrape.
const probeEvery = 10 * time.Second

// A scraped is what a scrape reads of the agent. It implements metrics.State.
type scraped struct {
	agent *Agent

	slot    chan struct{} // held by the scrape that asks the upstreams, or reads what follows
	at      time.Time     // of the last answers
	serial  int           // of the configuration that was asked for
	reached map[string]bool
}

var _ metrics.State = (*scraped)(nil)

// Pending implements metrics.State.
func (s *scraped) Pending() int { return s.agent.broker.Len() }

// Cached implements metrics.State.
func (s *scraped) Cached() map[string]int {
	g := s.agent.inForce()
	held := g.tokens.Held()
	counts := make(map[string]int)
	for _, r := range g.config.Rules {
		counts[r.Name] = held[r.Name]
	}
	return counts
}

// Upstreams implements metrics.State.
func (s *scraped) Upstreams() map[string]bool {
	s.slot <- struct{}{} // for two seconds at most
	defer func() { <-s.slot }()
	g := s.agent.inForce()
	if age := time.Since(s.at); s.reached != nil && s.serial == g.serial && age >= 0 && age < probeEvery {
		return s.reached
	}
	reached := make(map[string]bool)
	for _, v := range g.health(context.Background()) {
		reached[v.Name] = v.Up
	}
	s.at, s.serial, s.reached = time.Now().Round(0), g.serial, reached
	return reached
}

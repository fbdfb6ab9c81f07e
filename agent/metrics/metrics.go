// Package metrics counts what the agent does and answers to Prometheus. The
// names and labels are a promise to the dashboards and alerts of others; the
// values of a label come from the configuration or from a list in the program,
// never from a request, so that nobody can make the number of series grow.
package metrics

import (
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A State is what is read when somebody asks, not counted before. Its methods
// are called by several scrapes at once and must not wait for a keyring or a
// person.
type State interface {
	// Pending is the number of prompts that are open.
	Pending() int
	// Cached is the number of live step-up tokens by rule; every rule is in it.
	Cached() map[string]int
	// Upstreams says which vaults could be reached lately, by name. It may take
	// two seconds.
	Upstreams() map[string]bool
}

// Metrics is one set of metrics, in a registry of its own. Its methods may be
// called at any time, whether somebody scrapes or not.
type Metrics struct {
	registry   *prometheus.Registry
	requests   *prometheus.CounterVec
	overhead   prometheus.Histogram
	challenges *prometheus.CounterVec
	prompts    *prometheus.HistogramVec
	lookups    *prometheus.CounterVec
	keyring    *prometheus.CounterVec
	reloads    *prometheus.CounterVec
}

// Grants of challenges besides those of rules.
const (
	LoginMFA     = "login_mfa"     // logins that Vault held; no rule has them
	ControlGroup = "control_group" // the approval of other people
)

// The results of a lookup.
const (
	Hit   = "hit"
	Miss  = "miss"
	Error = "error"
)

// New returns metrics that read s. Everything whose labels are known starts at
// zero: a rate needs a value from before the first event.
func New(s State) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stepup_requests_total", Help: helpRequests,
		}, []string{"vault", "code"}),
		overhead: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "stepup_request_overhead_seconds", Help: helpOverhead,
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
		}),
		challenges: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stepup_challenges_total", Help: helpChallenges,
		}, []string{"rule", "grant", "outcome"}),
		prompts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "stepup_prompt_seconds", Help: helpPrompts,
			Buckets: []float64{1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 150},
		}, []string{"kind", "outcome"}),
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stepup_cache_lookups_total", Help: helpLookups,
		}, []string{"result"}),
		keyring: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stepup_keyring_errors_total", Help: helpKeyring,
		}, []string{"operation"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stepup_config_reloads_total", Help: helpReloads,
		}, []string{"result"}),
	}
	m.registry.MustRegister(m.requests, m.overhead, m.challenges, m.prompts, m.lookups, m.keyring, m.reloads,
		&gauges{state: s}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, result := range []string{Hit, Miss, Error} {
		m.lookups.WithLabelValues(result)
	}
	for _, operation := range []string{"get", "put", "delete", "list"} {
		m.keyring.WithLabelValues(operation)
	}
	for _, result := range []string{reloadDone, reloadFailed} {
		m.reloads.WithLabelValues(result)
	}
	return m
}

// Handler answers a scrape, whatever path and method it has. More than a few at
// once are refused with 503.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		MaxRequestsInFlight: 4,
	})
}

// ExpectVault starts the requests to a vault at zero, for the usual code.
func (m *Metrics) ExpectVault(name string) {
	m.requests.WithLabelValues(name, strconv.Itoa(http.StatusOK))
}

// ExpectPrompts starts the prompts of a kind at none, for its usual end.
func (m *Metrics) ExpectPrompts(kind, outcome string) { m.prompts.WithLabelValues(kind, outcome) }

// Expect starts the challenges of a rule at zero, for each of the outcomes.
func (m *Metrics) Expect(rule, grant string, outcomes []string) {
	for _, outcome := range outcomes {
		m.challenges.WithLabelValues(rule, grant, outcome)
	}
}

// Challenge counts an answer that took part in a step-up, by the word of its
// Stepup-Outcome. A held login has no rule and the grant [LoginMFA].
func (m *Metrics) Challenge(rule, grant, outcome string) {
	m.challenges.WithLabelValues(rule, grant, outcome).Inc()
}

// Prompt counts a prompt that ended, and how long it was open.
func (m *Metrics) Prompt(kind, outcome string, took time.Duration) {
	m.prompts.WithLabelValues(kind, outcome).Observe(max(took, 0).Seconds())
}

// Lookup counts a search for a cached token: Hit, Miss or Error.
func (m *Metrics) Lookup(result string) { m.lookups.WithLabelValues(result).Inc() }

// KeyringError counts an operation (get, put, delete, list) that could not use
// the keyring.
func (m *Metrics) KeyringError(operation string) { m.keyring.WithLabelValues(operation).Inc() }

const (
	reloadDone   = "success"
	reloadFailed = "failure"
)

// Reload counts a reload; err is why the configuration from before stays.
func (m *Metrics) Reload(err error) {
	result := reloadDone
	if err != nil {
		result = reloadFailed
	}
	m.reloads.WithLabelValues(result).Inc()
}

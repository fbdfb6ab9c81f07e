// Package metrics counts what the agent does and answers to Prometheus. The
// names and labels are a promise to the dashboards and alerts of operators; the
// values of a label come from the configuration or from a list in the program,
// never from a request, so that no app can make the number of series grow.
package metrics

import (
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A State is read by each scrape, not counted before. Its methods are called by
// several scrapes at once and must not wait for a keyring or a person.
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
// called at any time, during scrapes too.
type Metrics struct {
	registry   *prometheus.Registry // of our own metrics
	process    *prometheus.Registry // of Go and the process
	state      State
	file       *textfile
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

// The results of a reload.
const (
	reloadDone   = "success"
	reloadFailed = "failure"
)

// New returns metrics that read s. Everything whose labels are known starts at
// zero: a rate needs a value from before the first event.
//
// The help of a metric is one sentence, with what a label means where its name does
// not say it.
func New(s State) *Metrics {
	registry := prometheus.NewRegistry()
	auto := promauto.With(registry)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return auto.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &Metrics{
		registry: registry,
		process:  prometheus.NewRegistry(),
		state:    s,
		file:     newTextfile(),
		requests: counter("stepup_requests_total", "Requests of apps by vault and status code of the answer, those that the agent refused "+
			"included; code 499 is an app that left before its answer.", "vault", "code"),
		overhead: auto.NewHistogram(prometheus.HistogramOpts{
			Name: "stepup_request_overhead_seconds",
			Help: "Time that a request of an app spent in the agent until the header of its answer, without the time in which " +
				"it waited for Vault, for the app's own body or for a person.",
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
		}),
		challenges: counter("stepup_challenges_total", "Answers that took part in a step-up, by rule, grant and the word of their "+
			"Stepup-Outcome header; logins that Vault held for a second factor have no rule and the grant login_mfa, waits for the "+
			"approval of others the grant control_group.", "rule", "grant", "outcome"),
		prompts: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "stepup_prompt_seconds",
			Help:    "How long prompts were open, by kind and by how they ended; a push ends as done when Vault has decided it.",
			Buckets: []float64{1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 150},
		}, []string{"kind", "outcome"}),
		lookups: counter("stepup_cache_lookups_total", "Searches for a cached step-up token under a rule with a token or login grant, "+
			"by result: hit, miss, or error where the store could not be asked.", "result"),
		keyring: counter("stepup_keyring_errors_total", "Uses of the keyring that failed, by operation: get, put, delete, list.", "operation"),
		reloads: counter("stepup_config_reloads_total", "Reloads of the configuration by result: success, or failure where the one "+
			"from before stayed in force.", "result"),
	}
	registerState(registry, s)
	m.process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
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

// registerState adds what is read of s by each scrape.
func registerState(registry *prometheus.Registry, s State) {
	promauto.With(registry).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "stepup_prompts_pending", Help: "Prompts that are open now, push notices included.",
	}, func() float64 { return float64(s.Pending()) })
	registry.MustRegister(
		gauges[int]{
			prometheus.NewDesc("stepup_cached_tokens", "Step-up tokens that are kept in memory now, by rule; those that an earlier agent "+
				"left in the keyring count once they were looked up.", []string{"rule"}, nil),
			s.Cached,
			func(n int) float64 { return float64(n) },
		},
		gauges[bool]{
			prometheus.NewDesc("stepup_upstream_up", "Whether the Vault could be reached lately, sealed or not: 1 or 0; it is asked by "+
				"scrapes, at most once in ten seconds.", []string{"vault"}, nil),
			s.Upstreams,
			func(up bool) float64 {
				if up {
					return 1
				}
				return 0
			},
		})
}

// gauges are read by each scrape: one for each value of a label.
type gauges[V any] struct {
	desc  *prometheus.Desc
	read  func() map[string]V
	value func(V) float64
}

var _ prometheus.Collector = gauges[int]{}

// Describe implements prometheus.Collector.
func (g gauges[V]) Describe(out chan<- *prometheus.Desc) { out <- g.desc }

// Collect implements prometheus.Collector.
func (g gauges[V]) Collect(out chan<- prometheus.Metric) {
	for label, v := range g.read() {
		out <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.value(v), label)
	}
}

// Handler answers Prometheus at /metrics. More than a few scrapes at once are refused with
// 503.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	scraper := promhttp.HandlerFor(prometheus.Gatherers{m.registry, m.process}, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		MaxRequestsInFlight: 4,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/metrics":
			http.Error(w, "the metrics are at /metrics", http.StatusNotFound)
		case r.Method != http.MethodGet:
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "metrics are only read, by GET", http.StatusMethodNotAllowed)
		default:
			scraper.ServeHTTP(w, r)
		}
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
	m.file.touch()
}

// Prompt counts a prompt that ended, and how long it was open.
func (m *Metrics) Prompt(kind, outcome string, took time.Duration) {
	m.prompts.WithLabelValues(kind, outcome).Observe(max(took, 0).Seconds())
	m.file.touch()
}

// Lookup counts a search for a cached token: Hit, Miss or Error.
func (m *Metrics) Lookup(result string) {
	m.lookups.WithLabelValues(result).Inc()
	m.file.touch()
}

// KeyringError counts an operation (get, put, delete, list) that could not use
// the keyring.
func (m *Metrics) KeyringError(operation string) {
	m.keyring.WithLabelValues(operation).Inc()
	m.file.touch()
}

// Reload counts a reload; err is why the configuration from before stays.
func (m *Metrics) Reload(err error) {
	result := reloadDone
	if err != nil {
		result = reloadFailed
	}
	m.reloads.WithLabelValues(result).Inc()
	m.file.touch()
}

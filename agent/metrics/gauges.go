package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// gauges are read from the agent when somebody scrapes.
type gauges struct{ state State }

var _ prometheus.Collector = (*gauges)(nil)

func pendingDesc() *prometheus.Desc {
	return prometheus.NewDesc("stepup_prompts_pending", helpPending, nil, nil)
}

func cachedDesc() *prometheus.Desc {
	return prometheus.NewDesc("stepup_cached_tokens", helpCached, []string{"rule"}, nil)
}

func upDesc() *prometheus.Desc {
	return prometheus.NewDesc("stepup_upstream_up", helpUp, []string{"vault"}, nil)
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(out chan<- *prometheus.Desc) {
	out <- pendingDesc()
	out <- cachedDesc()
	out <- upDesc()
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(pendingDesc(), float64(g.state.Pending()))
	for rule, n := range g.state.Cached() {
		gauge(cachedDesc(), float64(n), rule)
	}
	for vault, up := range g.state.Upstreams() {
		v := 0.0
		if up {
			v = 1
		}
		gauge(upDesc(), v, vault)
	}
}

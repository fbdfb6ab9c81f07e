package metrics

import (
	"bytes"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
)

type fixed struct{}

func (fixed) Pending() int               { return 2 }
func (fixed) Cached() map[string]int     { return map[string]int{"deploy": 3, "secure": 0} }
func (fixed) Upstreams() map[string]bool { return map[string]bool{"corp": true, "lab": false} }

// used is a set of metrics in which everything has happened once.
func used() *Metrics {
	m := New(fixed{})
	m.Expect("deploy", "token", []string{"approved", "denied"})
	m.Challenge("deploy", "token", "approved")
	m.Challenge("", LoginMFA, "denied")
	m.Prompt("passcode", "answered", 3*time.Second)
	m.Lookup(Hit)
	m.KeyringError("list")
	m.Reload(nil)
	h := m.Measure(func() string { return "corp" }, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/v1/secret", nil))
	return m
}

// contract is the promise: every metric of ours with its type and labels.
func contract() map[string]string {
	return map[string]string{
		"stepup_requests_total":           "COUNTER vault,code",
		"stepup_request_overhead_seconds": "HISTOGRAM ",
		"stepup_challenges_total":         "COUNTER rule,grant,outcome",
		"stepup_prompt_seconds":           "HISTOGRAM kind,outcome",
		"stepup_prompts_pending":          "GAUGE ",
		"stepup_cached_tokens":            "GAUGE rule",
		"stepup_cache_lookups_total":      "COUNTER result",
		"stepup_keyring_errors_total":     "COUNTER operation",
		"stepup_config_reloads_total":     "COUNTER result",
		"stepup_upstream_up":              "GAUGE vault",
	}
}

func gather(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]*dto.MetricFamily)
	for _, f := range families {
		byName[f.GetName()] = f
	}
	return byName
}

func TestNamesTypesAndLabels(t *testing.T) {
	t.Parallel()
	got := make(map[string]string)
	for name, f := range gather(t, used()) {
		if !strings.HasPrefix(name, "stepup_") {
			continue
		}
		if help := f.GetHelp(); help == "" || !strings.HasSuffix(help, ".") {
			t.Errorf("%s: help is %q", name, help)
		}
		for _, metric := range f.GetMetric() {
			var labels []string
			for _, l := range metric.GetLabel() {
				labels = append(labels, l.GetName())
			}
			slices.Sort(labels)
			want := strings.Split(contract()[name][strings.Index(contract()[name], " ")+1:], ",")
			slices.Sort(want)
			if strings.Join(labels, ",") != strings.Join(want, ",") {
				t.Errorf("%s has the labels %q, want %q", name, labels, want)
			}
		}
		_, labels, _ := strings.Cut(contract()[name], " ")
		got[name] = f.GetType().String() + " " + labels
	}
	if diff := cmp.Diff(contract(), got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestLint(t *testing.T) {
	t.Parallel()
	problems, err := testutil.GatherAndLint(used().registry, slices.Collect(maps.Keys(contract()))...)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	const want = `
# HELP stepup_cache_lookups_total ` + helpLookups + `
# TYPE stepup_cache_lookups_total counter
stepup_cache_lookups_total{result="error"} 0
stepup_cache_lookups_total{result="hit"} 1
stepup_cache_lookups_total{result="miss"} 0
# HELP stepup_cached_tokens ` + helpCached + `
# TYPE stepup_cached_tokens gauge
stepup_cached_tokens{rule="deploy"} 3
stepup_cached_tokens{rule="secure"} 0
# HELP stepup_challenges_total ` + helpChallenges + `
# TYPE stepup_challenges_total counter
stepup_challenges_total{grant="login_mfa",outcome="denied",rule=""} 1
stepup_challenges_total{grant="token",outcome="approved",rule="deploy"} 1
stepup_challenges_total{grant="token",outcome="denied",rule="deploy"} 0
# HELP stepup_config_reloads_total ` + helpReloads + `
# TYPE stepup_config_reloads_total counter
stepup_config_reloads_total{result="failure"} 0
stepup_config_reloads_total{result="success"} 1
# HELP stepup_keyring_errors_total ` + helpKeyring + `
# TYPE stepup_keyring_errors_total counter
stepup_keyring_errors_total{operation="delete"} 0
stepup_keyring_errors_total{operation="get"} 0
stepup_keyring_errors_total{operation="list"} 1
stepup_keyring_errors_total{operation="put"} 0
# HELP stepup_prompts_pending ` + helpPending + `
# TYPE stepup_prompts_pending gauge
stepup_prompts_pending 2
# HELP stepup_requests_total ` + helpRequests + `
# TYPE stepup_requests_total counter
stepup_requests_total{code="200",vault="corp"} 1
# HELP stepup_upstream_up ` + helpUp + `
# TYPE stepup_upstream_up gauge
stepup_upstream_up{vault="corp"} 1
stepup_upstream_up{vault="lab"} 0
`
	names := slices.DeleteFunc(slices.Collect(maps.Keys(contract())), func(n string) bool { return strings.HasSuffix(n, "_seconds") })
	if err := testutil.GatherAndCompare(used().registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	prompts := gather(t, used())["stepup_prompt_seconds"].GetMetric()[0].GetHistogram()
	if prompts.GetSampleCount() != 1 || prompts.GetSampleSum() != 3 {
		t.Errorf("prompts: %v", prompts)
	}
}

// The registry is our own: nothing that another library registers gets out.
func TestHandler(t *testing.T) {
	t.Parallel()
	m := used()
	w := httptest.NewRecorder()
	m.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for line := range bytes.Lines(w.Body.Bytes()) {
		if name := string(line); !slices.ContainsFunc([]string{"#", "stepup_", "go_", "process_"}, func(p string) bool { return strings.HasPrefix(name, p) }) {
			t.Errorf("unexpected line %q", name)
		}
	}
	for _, want := range []string{"go_goroutines ", "stepup_upstream_up{"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s", want)
		}
	}
}

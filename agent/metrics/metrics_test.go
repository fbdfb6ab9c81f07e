package metrics

import (
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

// A fixture is a set of metrics.
type fixture struct {
	*Metrics
	t *testing.T
}

func newFixture(t *testing.T) fixture { return fixture{New(fixed{}), t} }

// newUsedFixture is one in which everything has happened once.
func newUsedFixture(t *testing.T) fixture {
	f := newFixture(t)
	f.Expect("deploy", "token", []string{"approved", "denied"})
	f.Challenge("deploy", "token", "approved")
	f.Challenge("", LoginMFA, "denied")
	f.Prompt("passcode", "answered", 3*time.Second)
	f.Lookup(Hit)
	f.KeyringError("list")
	f.Reload(nil)
	f.measure(httptest.NewRequest(http.MethodGet, "/v1/secret", nil), func(http.ResponseWriter, *http.Request) {})
	return f
}

// measure serves one request to the vault "corp" by h, which may panic.
func (f fixture) measure(r *http.Request, h http.HandlerFunc) {
	defer func() {
		if problem := recover(); problem != nil && problem != http.ErrAbortHandler {
			panic(problem)
		}
	}()
	f.Measure(func() string { return "corp" }, h).ServeHTTP(httptest.NewRecorder(), r)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// gather returns what is counted of one metric.
func (f fixture) gather(name string) []*dto.Metric {
	f.t.Helper()
	return f.families()[name].GetMetric()
}

func (f fixture) families() map[string]*dto.MetricFamily {
	f.t.Helper()
	families, err := f.registry.Gather()
	must(f.t, err)
	byName := make(map[string]*dto.MetricFamily)
	for _, family := range families {
		byName[family.GetName()] = family
	}
	return byName
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

func TestNamesTypesAndLabels(t *testing.T) {
	t.Parallel()
	got := make(map[string]string)
	for name, f := range newUsedFixture(t).families() {
		if !strings.HasPrefix(name, "stepup_") {
			continue
		}
		if help := f.GetHelp(); !strings.HasSuffix(help, ".") {
			t.Errorf("%s: help is %q", name, help)
		}
		_, labels, _ := strings.Cut(contract()[name], " ")
		want := slices.Sorted(strings.SplitSeq(labels, ","))
		for _, metric := range f.GetMetric() {
			var has []string
			for _, l := range metric.GetLabel() {
				has = append(has, l.GetName())
			}
			slices.Sort(has)
			if strings.Join(has, ",") != strings.Join(want, ",") {
				t.Errorf("%s has the labels %q, want %q", name, has, want)
			}
		}
		got[name] = f.GetType().String() + " " + labels
	}
	if diff := cmp.Diff(contract(), got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestLint(t *testing.T) {
	t.Parallel()
	problems, err := testutil.GatherAndLint(newUsedFixture(t).registry, slices.Collect(maps.Keys(contract()))...)
	must(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// A scrape has our metrics and those of Go and the process: the registry is our own,
// and nothing that another library registers gets out.
func TestScrape(t *testing.T) {
	t.Parallel()
	const want = `stepup_cache_lookups_total{result="error"} 0
stepup_cache_lookups_total{result="hit"} 1
stepup_cache_lookups_total{result="miss"} 0
stepup_cached_tokens{rule="deploy"} 3
stepup_cached_tokens{rule="secure"} 0
stepup_challenges_total{grant="login_mfa",outcome="denied",rule=""} 1
stepup_challenges_total{grant="token",outcome="approved",rule="deploy"} 1
stepup_challenges_total{grant="token",outcome="denied",rule="deploy"} 0
stepup_config_reloads_total{result="failure"} 0
stepup_config_reloads_total{result="success"} 1
stepup_keyring_errors_total{operation="delete"} 0
stepup_keyring_errors_total{operation="get"} 0
stepup_keyring_errors_total{operation="list"} 1
stepup_keyring_errors_total{operation="put"} 0
stepup_prompt_seconds_sum{kind="passcode",outcome="answered"} 3
stepup_prompt_seconds_count{kind="passcode",outcome="answered"} 1
stepup_prompts_pending 2
stepup_requests_total{code="200",vault="corp"} 1
stepup_upstream_up{vault="corp"} 1
stepup_upstream_up{vault="lab"} 0
`
	w := httptest.NewRecorder()
	newUsedFixture(t).Handler(slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	var ours strings.Builder
	goroutines := false
	for line := range strings.Lines(w.Body.String()) {
		goroutines = goroutines || strings.HasPrefix(line, "go_goroutines ")
		switch {
		case strings.HasPrefix(line, "#"), strings.HasPrefix(line, "go_"), strings.HasPrefix(line, "process_"):
		case !strings.HasPrefix(line, "stepup_"):
			t.Errorf("unexpected line %q", line)
		case !strings.Contains(line, "_bucket{") && !strings.HasPrefix(line, "stepup_request_overhead_seconds"):
			ours.WriteString(line)
		}
	}
	if diff := cmp.Diff(want, ours.String()); diff != "" || !goroutines {
		t.Errorf("with goroutines: %v (-want +got):\n%s", goroutines, diff)
	}
}

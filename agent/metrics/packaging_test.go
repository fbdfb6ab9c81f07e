package metrics

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	rulesFile     = "../../packaging/prometheus/stepup.rules.yml"
	ruleTests     = "../../packaging/prometheus/stepup.rules.test.yml"
	dashboardFile = "../../packaging/grafana/stepup.json"
)

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	raw, err := os.ReadFile(file)
	must(t, err)
	return raw
}

// expressions are those of a text: the values of expr, however it is written.
func expressions(t *testing.T, file string) []string {
	t.Helper()
	raw := readFile(t, file)
	var found []string
	if strings.HasSuffix(file, ".json") {
		var dashboard any
		must(t, json.Unmarshal(raw, &dashboard))
		found = exprs(dashboard)
	} else {
		for _, m := range regexp.MustCompile(`(?m)^ +expr: (.+)$`).FindAllStringSubmatch(string(raw), -1) {
			found = append(found, m[1])
		}
	}
	if len(found) < 8 {
		t.Fatalf("only %d expressions in %s", len(found), file)
	}
	return found
}

// exprs walks a dashboard; queries of variables count, too.
func exprs(v any) (found []string) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			found = append(found, exprs(e)...)
		}
	case map[string]any:
		for key, e := range v {
			if text, ok := e.(string); ok && (key == "expr" || key == "definition") {
				found = append(found, text)
				continue
			}
			found = append(found, exprs(e)...)
		}
	}
	return found
}

// unknown names what an expression uses and no metric of ours has.
func unknown(expr string) []string {
	var bad []string
	labels := []string{"job", "instance"}
	named := regexp.MustCompile(`\b(?:stepup|go|process)_[a-z_]+`).FindAllString(expr, -1)
	if len(named) == 0 {
		bad = append(bad, "no metric")
	}
	for _, name := range named {
		kind, of, ok := strings.Cut(contract()[name], " ")
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, cut := strings.CutSuffix(name, suffix); cut && strings.HasPrefix(contract()[base], "HISTOGRAM") {
				_, of, ok = strings.Cut(contract()[base], " ")
				if kind = "part"; suffix == "_bucket" {
					labels = append(labels, "le")
				}
			}
		}
		if !ok || kind == "HISTOGRAM" { // which has no series of its own name
			bad = append(bad, name)
		}
		labels = append(labels, strings.Split(of, ",")...)
	}
	for _, list := range regexp.MustCompile(`\b(?:by|on|without|ignoring) \(([^)]*)\)`).FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(list[1], ",") {
			if label = strings.TrimSpace(label); !slices.Contains(labels, label) {
				bad = append(bad, "label "+label)
			}
		}
	}
	for _, m := range regexp.MustCompile(`[{,]\s*([a-z_]+)\s*(?:=~|!~|!=|=)`).FindAllStringSubmatch(expr, -1) {
		if !slices.Contains(labels, m[1]) {
			bad = append(bad, "label "+m[1])
		}
	}
	return bad
}

// Every expression of the dashboard and the alerts uses metrics and labels that
// there are, and every metric is on the dashboard.
func TestExpressionsUseWhatThereIs(t *testing.T) {
	t.Parallel()
	shown := make(map[string]bool)
	for _, file := range []string{rulesFile, dashboardFile} {
		for _, expr := range expressions(t, file) {
			if bad := unknown(expr); len(bad) > 0 {
				t.Errorf("%s: %s uses %q", filepath.Base(file), expr, bad)
			}
			for name := range contract() {
				if file == dashboardFile && strings.Contains(expr, name) {
					shown[name] = true
				}
			}
		}
	}
	for name := range contract() {
		if !shown[name] {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}

func TestUnknownIsFound(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string]string{
		`stepup_upstream_up == 0`:                                        "",
		`stepup_upstream_down == 0`:                                      "stepup_upstream_down",
		`sum by (le) (rate(stepup_request_overhead_seconds_bucket[5m]))`: "",
		`sum by (le) (stepup_upstream_up)`:                               "label le",
		`stepup_request_overhead_seconds > 1`:                            "stepup_request_overhead_seconds",
		`stepup_requests_total_count > 1`:                                "stepup_requests_total_count",
		`stepup_requests_total{path="x",code="200"}`:                     "label path",
		`stepup_requests_total{code=~"5..",rule="x"}`:                    "label rule",
		`sum by (vault, user) (stepup_requests_total)`:                   "label user",
		`up == 0`: "no metric",
		`stepup_prompts_pending and on (instance, rule) stepup_prompts_pending`:    "label rule",
		`sum by (job, kind) (rate(stepup_prompt_seconds_sum{outcome="done"}[5m]))`: "",
	} {
		if got := strings.Join(unknown(expr), ", "); got != want {
			t.Errorf("%s: got %q, want %q", expr, got, want)
		}
	}
}

// The dashboard asks the data source that is chosen on it, and its panels do not
// lie on each other.
func TestDashboard(t *testing.T) {
	t.Parallel()
	var d struct {
		Title, UID string
		Panels     []struct {
			ID         int
			Title      string
			Datasource struct{ UID string }
			GridPos    struct{ X, Y, W, H int }
			Targets    []struct{ Datasource struct{ UID string } }
		}
	}
	if err := json.Unmarshal(readFile(t, dashboardFile), &d); err != nil || d.UID != "stepup" {
		t.Fatalf("uid %q, %v", d.UID, err)
	}
	taken := make(map[[2]int]string)
	ids := make(map[int]bool)
	for _, p := range d.Panels {
		if ids[p.ID] || p.Datasource.UID != "${datasource}" || p.Targets[0].Datasource.UID != "${datasource}" || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q: %+v", p.Title, p)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := taken[at]; other != "" {
					t.Fatalf("%q lies on %q", p.Title, other)
				}
				taken[at] = p.Title
			}
		}
	}
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("needs promtool (Debian: prometheus)")
	}
	if out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args[:2], " "), err, out)
	}
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	promtool(t, "check", "rules", rulesFile)
	promtool(t, "test", "rules", ruleTests)
	tests := readFile(t, ruleTests)
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(readFile(t, rulesFile)), -1) {
		// The first lines of its cases say that there are no alerts; one must say that there is.
		if !regexp.MustCompile(`alertname: ` + m[1] + `\n +exp_alerts:\n`).Match(tests) {
			t.Errorf("no test in which %s fires", m[1])
		}
	}
}

// The expressions of the dashboard are PromQL: as recording rules promtool reads
// them. What Grafana puts in is put in before.
func TestDashboardIsPromQL(t *testing.T) {
	t.Parallel()
	variables := strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$job", ".*", "$instance", ".*")
	all := make(map[string]bool)
	for _, expr := range expressions(t, dashboardFile) {
		if !strings.HasPrefix(expr, "label_values(") { // Grafana's own
			all[variables.Replace(expr)] = true
		}
	}
	var file strings.Builder
	file.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	for i, expr := range slices.Sorted(maps.Keys(all)) {
		quoted, err := json.Marshal(expr)
		must(t, err)
		file.WriteString("      - record: panel:" + strings.Repeat("x", i+1) + "\n        expr: " + string(quoted) + "\n")
	}
	path := filepath.Join(t.TempDir(), "dashboard.yml")
	must(t, os.WriteFile(path, []byte(file.String()), 0o600))
	promtool(t, "check", "rules", path)
}

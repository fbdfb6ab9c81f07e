package history

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// A fixture writes records, each a second after the one before.
type fixture struct {
	at      time.Time
	records []audit.Record
}

func newFixture() *fixture { return &fixture{at: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)} }

// add writes "EVENT PID [KIND METHOD]" of each; PATH is the same for all.
func (f *fixture) add(lines ...string) *fixture {
	for _, line := range lines {
		f.at = f.at.Add(time.Second)
		r := audit.Record{Time: f.at, Rule: "prod", Vault: "corp", Path: "kv/data/prod/db", Operation: "read", Token: "00ff"}
		_, _ = fmt.Sscan(line, &r.Event, &r.Requester.PID, &r.Kind, &r.Method)
		r.Requester.Chain = []string{fmt.Sprint("program-", r.Requester.PID)}
		if r.Event == audit.Approved {
			r.DurationMS = 3000
		}
		if r.Method == "next-day" {
			r.Time = r.Time.Add(25 * time.Hour)
		}
		f.records = append(f.records, r)
	}
	return f
}

func TestEntries(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		records []string
		want    []string // EVENT PID prompts resent uses
	}{
		"an approval":                 {[]string{"challenge 1", "prompt 1 passcode totp", "approved 1 passcode totp"}, []string{"approved 1 1 false 0"}},
		"a wrong code":                {[]string{"challenge 1", "prompt 1 passcode totp", "prompt 1 passcode totp", "denied 1"}, []string{"denied 1 2 true 0"}},
		"two factors":                 {[]string{"challenge 1", "prompt 1 passcode a", "prompt 1 passcode b", "approved 1"}, []string{"approved 1 2 false 0"}},
		"a push that is confirmed":    {[]string{"challenge 1", "prompt 1 confirm a", "prompt 1 push a", "approved 1"}, []string{"approved 1 2 false 0"}},
		"uses of a token":             {[]string{"challenge 1", "prompt 1", "approved 1", "cached 1", "cached 2", "locked 0"}, []string{"approved 1 1 false 2", "locked 0 0 false 0"}},
		"served with another":         {[]string{"challenge 1", "challenge 2", "prompt 1", "approved 1", "cached 2"}, []string{"approved 1 1 false 1"}},
		"a token from before":         {[]string{"cached 1", "cached 2"}, []string{"cached 1 0 false 2"}},
		"a token that lives no more":  {[]string{"approved 1", "cached 1", "cached 1 - next-day"}, []string{"approved 1 0 false 1", "cached 1 0 false 1"}},
		"the agent was killed":        {[]string{"challenge 1", "challenge 2", "prompt 2", "timeout 2"}, []string{"challenge 1 0 false 0", "timeout 2 1 false 0"}},
		"nobody to ask":               {[]string{"challenge 1", "prompt 1", "unavailable 1"}, []string{"unavailable 1 1 false 0"}},
		"the program left":            {[]string{"challenge 1", "prompt 1", "withdrawn 1"}, []string{"withdrawn 1 1 false 0"}},
		"two at once":                 {[]string{"challenge 1", "challenge 1", "prompt 1", "approved 1", "prompt 1", "rejected 1"}, []string{"approved 1 1 false 0", "rejected 1 1 false 0"}},
		"the beginning is gone":       {[]string{"prompt 1", "approved 1", "approved 2"}, []string{"approved 1 1 false 0", "approved 2 0 false 0"}},
		"an event of a later version": {[]string{"weighed 1"}, []string{"weighed 1 0 false 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, e := range entriesOf(newFixture().add(tt.records...).records) {
				got = append(got, fmt.Sprint(e.Event, " ", e.Requester.PID, " ", e.Prompts, " ", e.Resent, " ", e.Uses))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	all := []audit.Record{
		{Event: audit.Denied, Rule: "a", Requester: peer.Peer{Exe: "/usr/bin/vault", Chain: []string{"vault", "zsh"}}},
		{Event: audit.Denied, Rule: "", Requester: peer.Peer{Chain: []string{"terraform"}}},
		{Event: audit.Denied, Rule: "b", Requester: peer.Peer{Exe: "/opt/terraform-provider"}},
	}
	for name, tt := range map[string]struct {
		filter filter
		want   []string
	}{
		"all":            {filter{}, []string{"vault", "terraform", "terraform-provider"}},
		"rule":           {filter{rule: "b", byRule: true}, []string{"terraform-provider"}},
		"logins":         {filter{byRule: true}, []string{"terraform"}},
		"program":        {filter{program: "terraform"}, []string{"terraform"}},
		"some programs":  {filter{program: "terra*"}, []string{"terraform", "terraform-provider"}},
		"path":           {filter{program: "/usr/bin/vault"}, []string{"vault"}},
		"not its parent": {filter{program: "zsh"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, e := range tt.filter.apply(entriesOf(all), time.Time{}) {
				got = append(got, e.Program)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("programs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	f := newFixture()
	for i := range 6 { // 3 s each
		f.add(fmt.Sprint("challenge ", i), fmt.Sprint("prompt ", i), fmt.Sprint("approved ", i))
	}
	f.add("challenge 7", "prompt 7", "prompt 7", "rejected 7", "challenge 8", "cached 9", "challenge 6")
	f.records[len(f.records)-1].Time = f.at.Add(time.Hour) // which is still open
	got := summarise(entriesOf(f.records), f.at.Add(-time.Hour), f.at.Add(time.Hour))
	want := figures{
		Rule: "prod", StepUps: 8, Approved: 6, Rejected: 1, Unanswered: 1, FailureRate: 0.25, MedianMS: 3000, P95MS: 3000,
		Prompts: 8, Resent: 1, ResendRate: 0.125, Uses: 1,
	}
	ignore := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".took" }, cmp.Ignore())
	if diff := cmp.Diff([]figures{want}, got.Rules, ignore); diff != "" {
		t.Errorf("figures (-want +got):\n%s", diff)
	}
	want.Rule = ""
	if diff := cmp.Diff(want, got.Total, ignore); diff != "" {
		t.Errorf("total (-want +got):\n%s", diff)
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		values   []int64
		mid, top int64
	}{{nil, 0, 0}, {[]int64{7}, 7, 7}, {[]int64{1, 2}, 1, 2}, {[]int64{1, 2, 3}, 2, 3}, {make([]int64, 100), 0, 0}} {
		if mid, top := quantile(tt.values, 50), quantile(tt.values, 95); mid != tt.mid || top != tt.top {
			t.Errorf("%v: %d and %d", tt.values, mid, top)
		}
	}
}

func TestSince(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 3, 0, 0, 0, time.FixedZone("", 3600))
	for s, want := range map[string]string{
		"12h": "2026-11-28T15:00:00+01:00", "7d": "2026-11-22T03:00:00+01:00", "2w": "2026-11-15T03:00:00+01:00", "90m": "2026-11-29T01:30:00+01:00",
		"2026-11-01": "2026-11-01T00:00:00+01:00", "2026-11-01 08:00:00": "2026-11-01T08:00:00+01:00", "2026-11-01T08:00:00Z": "2026-11-01T08:00:00Z",
		"": "", "d": "", "yesterday": "", "-1h": "", "-1d": "", "99999999d": "", "30501w": "", "2000000h": "", "1.5d": "", "+1d": "",
	} {
		got, err := parseSince(s, now)
		if text := got.Format(time.RFC3339); (err != nil) != (want == "") || err == nil && text != want {
			t.Errorf("%q: %s, %v; want %s", s, text, err, want)
		}
	}
}

// No hostile text reaches a terminal, and each step-up stays one line.
func TestTextIsHarmless(t *testing.T) {
	t.Parallel()
	hostile := "a\n\tb\x1b[2J\u202e\u009b" + strings.Repeat("x", 500)
	e := audit.Record{
		Event: "new\x1b[2J", Rule: hostile, Namespace: hostile, Path: hostile, Operation: hostile, Method: hostile, Kind: hostile, Prompter: hostile, Reason: hostile,
		Requester: peer.Peer{PID: 1, Exe: hostile, Chain: []string{hostile}},
	}
	var out bytes.Buffer
	for _, format := range []string{"text", cli.FormatJSON, formatCSV} {
		out.Reset()
		h := &command{Console: &cli.Console{Out: &out}, format: &format}
		if err := h.writeEntries(entriesOf([]audit.Record{e}), audit.History{}); err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(out.String(), func(r rune) bool { return r != '\n' && r != '\t' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x202e) }); i >= 0 {
			t.Errorf("%s: %q", format, out.String()[i:])
		}
		if lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n"); format == formatCSV && len(lines) != 2 ||
			format == "text" && slices.ContainsFunc(lines[1:], func(l string) bool { return !strings.HasPrefix(l, "    ") }) {
			t.Errorf("%s: %q", format, lines)
		}
	}
}

// Whatever a cell holds, no spreadsheet takes a part of the line for a formula, with commas
// or semicolons as its separators, and nothing else of the text is lost.
func FuzzCSV(f *testing.F) {
	for _, s := range []string{"=cmd|'/C calc'!A0", "+1", "-1", "@SUM(1)", "a;=b", `a;"=b`, "\t=1", " =1", "＝1", "a,=b", "\"=1", "plain", "a;b;;-c", "\n@x", "'=1"} {
		f.Add(s)
	}
	begins := regexp.MustCompile(`^[\s"]*[=+\-@＝＋－＠]`)
	f.Fuzz(func(t *testing.T, s string) {
		var out bytes.Buffer
		h := &command{Console: &cli.Console{Out: &out}}
		if err := h.writeCSV([][]string{{"first", s}}); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&out).ReadAll()
		if err != nil || len(rows) != 1 || len(rows[0]) != 2 {
			t.Fatalf("%q: %v, %v", s, rows, err)
		}
		got := rows[0][1]
		for cell := range strings.SplitSeq(got, ";") {
			if begins.MatchString(cell) {
				t.Errorf("%q: %q is a formula", s, cell)
			}
		}
		if want := cli.PrintableLine(s); strings.ReplaceAll(got, "'", "") != strings.ReplaceAll(want, "'", "") {
			t.Errorf("%q became %q", want, got)
		}
	})
}

// A time before now, or an error.
func FuzzSince(f *testing.F) {
	for _, s := range []string{"12h", "7d", "2w", "2026-11-29", "2026-11-29T08:00:00Z", "-5d", "9999w"} {
		f.Add(s)
	}
	now := time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseSince(s, now)
		if isDate := strings.ContainsAny(s, "-:"); err == nil && !isDate && (got.After(now) || now.Sub(got) > maxSince) {
			t.Errorf("%q is %v", s, got)
		}
	})
}

// A table is as wide as it may be, then tighter, then a paragraph for each entry; the end of
// a path is always there.
func TestTextFits(t *testing.T) {
	t.Parallel()
	f := newFixture().add("challenge 4711", "prompt 4711 passcode corp_totp", "approved 4711 passcode corp_totp")
	entries := entriesOf(f.records)
	entries[0].Prompter, entries[0].Uses = "attached", 2
	at := entries[0].Time.Local().Format(timeLayout)
	for width, want := range map[int]string{
		120: "TIME                 EVENT     RULE  PROGRAM              REQUEST               ANSWERED             TOOK  USES\n" +
			at + "  approved  prod  program-4711 (4711)  read kv/data/prod/db  attached, corp_totp  3.0s  2\n",
		102: "TIME              EVENT     RULE  PROGRAM       REQUEST               ANSWERED             TOOK  USES\n" +
			at[:16] + "  approved  prod  program-4711  read kv/data/prod/db  attached, corp_totp  3.0s  2\n",
		60: at + "  approved   read kv/data/prod/db\n" +
			"    rule prod, program-4711 (4711), attached, corp_totp\n    took 3.0s, 2 uses\n",
		40: at + "  approved   re…od/db\n    rule prod, program-4711 (4711)\n    attached, corp_totp, took 3.0s\n    2 uses\n",
	} {
		if diff := cmp.Diff(want, strings.Join(entryText(entries, width), "\n")+"\n"); diff != "" {
			t.Errorf("width %d: %s", width, diff)
		}
	}
	entries[0].Path = "kv/data/" + strings.Repeat("team/", 30) + "prod/payments"
	for width := 40; width < 200; width++ {
		lines := entryText(entries, width)
		if widest(lines) > width {
			t.Errorf("width %d: %q", width, lines)
		}
		if text := strings.Join(lines, "\n"); width >= 60 && !strings.Contains(text, "prod/payments") {
			t.Errorf("width %d: no end of the path in %q", width, text)
		}
	}
}

// The reason stands below its line, in a table and in a paragraph, and is not cut.
func TestReasonFits(t *testing.T) {
	t.Parallel()
	entries := entriesOf(newFixture().add("challenge 4711", "unavailable 4711", "denied 1").records)
	entries[0].Reason = "there is no way to ask you for the second factor; run `stepup attach` in a terminal and try again"
	for width := 40; width < 200; width++ {
		lines := entryText(entries, width)
		text := strings.Join(strings.Fields(strings.Join(lines, "\n")), " ")
		first, second := strings.Index(text, "unavailable"), strings.Index(text, "denied")
		if at := strings.Index(text, entries[0].Reason); widest(lines) > width || at < first || at > second {
			t.Errorf("width %d: %q", width, lines)
		}
	}
}

// Outcomes that never came are left out where the room is short.
func TestSummaryFits(t *testing.T) {
	t.Parallel()
	s := summary{Rules: []figures{{Rule: "prod", StepUps: 2, Approved: 1, Rejected: 1}}}
	if got := summaryText(s, 120)[0]; !strings.Contains(got, "DENIED  TIMEOUT  REJECTED  LEFT  NO ANSWER") {
		t.Errorf("%q", got)
	}
	lines := summaryText(s, 80)
	if widest(lines) > 80 || !strings.Contains(lines[0], "REJECTED") || strings.Contains(lines[0], "LEFT") {
		t.Errorf("%q", lines)
	}
}

// What became of a question, and where it was answered.
func TestEntryCells(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		entry                entry
		event, answer, tight string
	}{
		"a code":        {entry{Record: audit.Record{Event: audit.Approved, Prompter: "attached", Method: "corp"}, Prompts: 1}, "approved", "attached, corp", "attached, corp"},
		"three":         {entry{Record: audit.Record{Event: audit.Rejected, Prompter: "attached", Method: "corp"}, Prompts: 3}, "rejected", "attached, corp, 3 questions", "attached, corp x3"},
		"two of nobody": {entry{Record: audit.Record{Event: audit.Timeout}, Prompts: 2}, "timeout", "2 questions", "x2"},
		"a push":        {entry{Record: audit.Record{Event: audit.Denied, Kind: "push", Method: "phone"}}, "denied", "phone, phone", "phone, phone"},
		"until a lock":  {entry{Record: audit.Record{Event: audit.Approved, Prompter: "desktop", Keep: "lock"}}, "approved", "desktop, until a lock", "desktop, until a lock"},
		"nobody to ask": {entry{Record: audit.Record{Event: audit.Unavailable}}, "unavailable", "", ""},
		"still open":    {entry{Record: audit.Record{Event: audit.Prompt, Method: "corp"}, Prompts: 1}, "undecided", "corp", "corp"},
		"never shown":   {entry{Record: audit.Record{Event: audit.Challenge}}, "not asked", "", ""},
		"of a stranger": {entry{Record: audit.Record{Event: audit.Refused, Method: "other user"}}, "refused", "", ""},
	} {
		if got := eventText(&tt.entry); got != tt.event {
			t.Errorf("%s: %q", name, got)
		}
		if got := answerText(&tt.entry, false); got != tt.answer {
			t.Errorf("%s: %q, want %q", name, got, tt.answer)
		}
		if got := answerText(&tt.entry, true); got != tt.tight {
			t.Errorf("%s: %q, want %q", name, got, tt.tight)
		}
	}
}

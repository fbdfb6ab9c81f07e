package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/config"
	"github.com/vault-stepup/stepup/prompt"
)

// A sheet is text in two columns: a name, and lines that belong to it.
type sheet struct{ strings.Builder }

// row writes the lines beside the name; each may have cells with tabs between
// them, which are aligned within the row. Without lines it writes nothing.
func (s *sheet) row(name string, lines ...string) {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		fmt.Fprintln(table, line)
	}
	_ = table.Flush() // a Builder takes everything
	for line := range strings.Lines(b.String()) {
		fmt.Fprintln(s, strings.TrimRight(fmt.Sprintf("%-10s %s", name, strings.TrimRight(line, "\n")), " "))
		name = ""
	}
}

// statusText is the status for people.
func statusText(st control.Status, now time.Time) string {
	var s sheet
	s.row("agent", fmt.Sprintf("stepup %s, pid %d, up %s", printable(st.Version), st.PID, duration(now.Sub(st.Started))))
	s.row("config", printable(st.ConfigFile))
	s.row("", reloadLines(st, now)...)
	s.row("listeners", listenerLines(st.Listeners)...)
	if st.Telemetry != "" {
		s.row("metrics", "http://"+printable(st.Telemetry)+"/metrics")
	}
	s.row("vaults", vaultLines(st.Vaults)...)
	s.row("rules", ruleLines(st.Rules)...)
	s.row("prompts", promptsLine(len(st.Prompts)), askedLine(st))
	s.row("cache", cacheLines(st, now)...)
	s.row("audit", auditLines(st.Audit, now)...)
	for _, suggestion := range st.Suggestions {
		s.row("no rule", suggestionLines(suggestion)...)
	}
	for _, note := range st.Notes {
		s.row("note", printable(note))
	}
	return s.String()
}

// What is said of an audit log that cannot be written.
const (
	textAuditFails = "%s cannot be written, for %s now"
	textAuditLost  = "it lacks %s since then"
)

// What the agent's log says of a changed configuration.
const (
	textReloaded     = "config reloaded: "
	textReloadFailed = "reload failed, the old configuration stays in force"
)

// reloadLines say what became of the last change of the configuration.
func reloadLines(st control.Status, now time.Time) []string {
	switch r := st.Reload; {
	case st.ConfigError != "":
		return []string{"error: " + printable(st.ConfigError), "the configuration from before is still in force"}
	case r == nil:
		return nil
	default:
		return []string{"reloaded " + duration(now.Sub(r.Time)) + " ago: " + printable(r.Changes)}
	}
}

// auditLines say that decisions are not kept; nothing when they are.
func auditLines(a *control.Audit, now time.Time) []string {
	if a == nil || a.Error == "" {
		return nil
	}
	lines := []string{"error: " + fmt.Sprintf(textAuditFails, printable(a.File), duration(now.Sub(a.Since))), printable(a.Error)}
	if a.Lost > 0 {
		lines = append(lines, fmt.Sprintf(textAuditLost, counted(a.Lost, "decision")))
	}
	return lines
}

// listenerLines can be pasted into a shell, comment and all.
func listenerLines(all []control.Listener) []string {
	var lines []string
	for _, l := range all {
		about := []string{"vault " + printable(l.Vault)}
		if l.Check != "" {
			about = append(about, printable(l.Check))
		}
		if l.PID != 0 {
			about = append(about, fmt.Sprintf(textOnlyFor, l.PID))
		}
		if l.RequireHeader {
			about = append(about, "only with X-Vault-Request")
		}
		scheme := "http://"
		if l.Network == config.Unix {
			scheme = "unix://"
		}
		lines = append(lines, "export VAULT_ADDR="+shellQuote(scheme+printable(l.Address))+"\t# "+strings.Join(about, ", "))
	}
	return lines
}

func vaultLines(all []control.Vault) []string {
	var lines []string
	for _, v := range all {
		state := "up"
		switch {
		case v.Error != "":
			state = "down: " + printable(v.Error)
		case v.Sealed:
			state = "sealed"
		case !v.Up:
			state = "down"
		}
		if v.Version != "" {
			state += ", version " + printable(v.Version)
		}
		lines = append(lines, printable(v.Name)+"\t"+printable(v.Address)+"\t"+state)
	}
	return lines
}

func ruleLines(all []control.Rule) []string {
	var lines []string
	for _, r := range all {
		where := printable(strings.Join(r.Paths, ", "))
		if r.Namespace != "" {
			where += " in namespace " + printable(r.Namespace)
		}
		what := "all operations"
		if len(r.Capabilities) > 0 {
			what = printable(strings.Join(r.Capabilities, ", "))
		}
		how := howText(r)
		lines = append(lines, printable(r.Name)+"\t"+where+"\t"+what+"\t"+how)
	}
	if len(lines) == 0 {
		return []string{"none: only logins are completed"}
	}
	return lines
}

// howText is what a rule does for a request.
func howText(r control.Rule) string {
	how := printable(r.Grant)
	if len(r.Methods) > 0 {
		how += " with " + printable(strings.Join(r.Methods, " and "))
	}
	if r.ControlGroup == "" {
		return how
	}
	waits := "waits " + printable(r.ControlGroup) + " for others to approve"
	if how == "" {
		return waits
	}
	return how + ", " + waits
}

// suggestionLines say what was refused, and the rule to paste.
func suggestionLines(one control.Suggestion) []string {
	where := printable(one.Path)
	if one.Namespace != "" {
		where += " in namespace " + printable(one.Namespace)
	}
	lines := []string{fmt.Sprintf("%s of %s at vault %s was refused (%s), although policies grant it:",
		printable(strings.Join(one.Operations, " and ")), where, printable(one.Vault), timesText(one.Count))}
	if one.Rule == "" {
		return append(lines, "probably it wants a second factor; no rule can name this path")
	}
	lines = append(lines, "probably it wants a second factor. A rule for it, to put into the configuration:")
	for line := range strings.Lines(one.Rule) {
		lines = append(lines, "  "+printableLine(line))
	}
	return lines
}

func timesText(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// printableLine is printable without its end, and however long: what is cut
// could not be pasted.
func printableLine(line string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.Is(unicode.Bidi_Control, r) || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.TrimRight(line, "\n"))
}

func promptsLine(n int) string {
	if n == 0 {
		return "none is open"
	}
	return counted(n, "prompt") + " open: `stepup prompts`"
}

// askedLine says who is asked, and how to be asked where nobody is.
func askedLine(st control.Status) string {
	var ways []string
	for _, name := range st.Prompters {
		ways = append(ways, printable(name))
	}
	if st.Attached > 0 {
		ways = append(ways, counted(st.Attached, "attached terminal"))
	}
	if len(ways) == 0 {
		return "nobody is asked now: run `stepup attach`"
	}
	return "asked by " + strings.Join(ways, ", ")
}

func cacheLines(st control.Status, now time.Time) []string {
	lines := []string{storeLine(st.Cache)}
	for _, t := range st.Tokens {
		lines = append(lines, fmt.Sprintf("%s\tfor caller %s\t%s left\t%s",
			printable(t.Rule), printable(t.Caller), duration(t.Expires.Sub(now)), usesLeft(t.Uses)))
	}
	return lines
}

// storeLine says where tokens are kept, and why not where they should be.
func storeLine(c control.Cache) string {
	if c.Store == config.StoreMemory {
		return c.Store
	}
	switch state := cache.Condition(c.State); state {
	case cache.Available, cache.Untested:
		return printable(c.Store + ", " + c.State)
	}
	line := "memory only, the keyring is " + printable(c.State)
	if c.Reason != "" {
		line += ": " + printable(c.Reason)
	}
	return line
}

func usesLeft(n int) string {
	switch n {
	case 0:
		return "any number of uses"
	case 1:
		return "one use left"
	}
	return fmt.Sprintf("%d uses left", n)
}

// promptsText lists what can be answered.
func promptsText(open []control.Prompt, now time.Time) string {
	if len(open) == 0 {
		return "no prompts are open\n"
	}
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tLEFT\tKIND\tRULE\tQUESTION")
	for _, p := range open {
		rule := printable(p.Rule)
		if rule == "" {
			rule = "-" // a login
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", printable(p.ID), duration(p.Deadline.Sub(now)), printable(string(p.Kind)), rule, question(p))
	}
	_ = table.Flush()
	return b.String()
}

// question says who wants what, in the words of the prompt itself.
func question(p control.Prompt) string {
	return strings.TrimPrefix(prompt.Brief(p.Request()), "stepup: ")
}

func lockText(r control.LockResult) string {
	var done []string
	add := func(n int, thing, verb string) {
		if n > 0 {
			done = append(done, counted(n, thing)+" "+verb)
		}
	}
	if r.Revoked == r.Forgotten {
		add(r.Forgotten, "token", "revoked and forgotten")
	} else {
		add(r.Revoked, "token", "revoked")
		add(r.Forgotten, "token", "forgotten")
	}
	add(r.Prompts, "prompt", "cancelled")
	if len(done) == 0 {
		done = []string{"there were no tokens and no prompts"}
	}
	text := "locked: " + strings.Join(done, ", ") + "\n"
	for _, note := range r.Notes {
		text += "note: " + printable(note) + "\n"
	}
	return text
}

func checkedText(name string, c *config.Config) string {
	return fmt.Sprintf("%s: %s, %s, %s: ok", printable(name),
		counted(len(c.Vaults), "vault"), counted(len(c.Listeners), "listener"), counted(len(c.Rules), "rule"))
}

// wroteText says what was written where, and what to do next. flag is what the
// next commands need to find the file, with a blank before it, or "".
func wroteText(path string, s starter, flag string) string {
	var b strings.Builder
	origin := ""
	if s.origin != "" {
		origin = " (" + s.origin + ")"
	}
	fmt.Fprintf(&b, "wrote %s\nfor the Vault server at %s%s\n\nnext:\n", printable(path), printable(s.address), origin)
	if s.invent {
		fmt.Fprintf(&b, "  edit the address in %s\n", printable(filepath.Base(path)))
	}
	fmt.Fprintf(&b, "  stepup config check%s\n  stepup agent%s\n", flag, flag)
	return b.String()
}

func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// duration is d in at most two units, for people.
func duration(d time.Duration) string {
	d = max(0, d).Round(time.Second)
	switch days, hours, minutes := d/(24*time.Hour), d/time.Hour, d/time.Minute; {
	case days > 0:
		return fmt.Sprintf("%dd%dh", days, hours%24)
	case hours > 0:
		return fmt.Sprintf("%dh%dm", hours, minutes%60)
	case minutes > 0:
		return fmt.Sprintf("%dm%ds", minutes, d/time.Second%60)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

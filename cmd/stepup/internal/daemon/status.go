package daemon

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// Status is stepup status.
func Status(c *cli.Console) *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "show what the agent does", Long: textStatusLong, Args: cli.Takes(0)}
	f := cli.FormatFlag(cmd)
	watch := cmd.Flags().Bool("watch", false, "show it again and again, until ctrl-c")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *watch {
			return watchStatus(cmd.Context(), c, *f)
		}
		return showStatus(cmd.Context(), c, *f, "")
	}
	return cmd
}

// showStatus writes the status once, behind before.
func showStatus(ctx context.Context, c *cli.Console, format, before string) error {
	s, err := c.Client().Status(ctx)
	if err != nil {
		return err
	}
	if format == cli.FormatJSON {
		return cli.WriteJSON(c.Out, s)
	}
	_, err = io.WriteString(c.Out, before+statusText(s, time.Now()))
	return err
}

// watchInterval is short enough for a countdown, and asks a Vault for its health no more
// often than a load balancer does.
const watchInterval = 2 * time.Second

// watchStatus shows the status until it is interrupted, or the agent has ended. A terminal
// shows the newest alone; elsewhere one follows the other.
func watchStatus(ctx context.Context, c *cli.Console, format string) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	again := time.NewTicker(watchInterval)
	defer again.Stop()
	onTerminal := false
	if f, ok := c.Out.(*os.File); ok {
		onTerminal = terminal.IsTerminal(f)
	}
	before := ""
	for {
		if err := showStatus(ctx, c, format, before); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		before = "\n"
		if onTerminal {
			before = clearScreen
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			if onTerminal {
				c.Say("") // behind the ^C
			}
			return nil
		}
	}
}

// clearScreen puts the cursor to the upper left and clears what is below (ECMA-48).
const clearScreen = "\x1b[H\x1b[2J"

const textStatusLong = `Shows where programs connect (the export lines can be pasted into a shell), the
Vault servers and whether they answer, the rules, open questions, who is asked,
and where step-up tokens are kept. A server that does not answer costs two
seconds. Of each token it says how long it is left, and when and for which
program it was used last. With --format json it is the object that GET
/v1/status gives.`

// statusText is the status for people.
func statusText(st control.Status, now time.Time) string {
	var s cli.Sheet
	s.Row("agent", fmt.Sprintf("stepup %s, pid %d, up %s", cli.Printable(st.Version), st.PID, cli.Duration(now.Sub(st.Started))))
	s.Row("config", configLines(st)...)
	s.Row("", reloadLines(st, now)...)
	s.Row("listeners", listenerLines(st.Listeners)...)
	s.Row("metrics", metricsLines(st)...)
	s.Row("vaults", vaultLines(st.Vaults)...)
	s.Row("rules", ruleLines(st.Rules)...)
	s.Row("questions", append([]string{questionsLine(len(st.Prompts))}, askedLines(st)...)...)
	s.Row("cache", cacheLines(st, now)...)
	s.Row("audit", auditLines(st.Audit, now)...)
	for _, suggestion := range st.Suggestions {
		s.Row("no rule", suggestionLines(suggestion)...)
	}
	for _, note := range st.Notes {
		s.Row("note", cli.Printable(note))
	}
	return s.String()
}

// configLines are the files of the configuration.
func configLines(st control.Status) (lines []string) {
	for _, file := range st.ConfigFiles {
		lines = append(lines, cli.Printable(file))
	}
	if len(lines) == 0 { // of an older agent
		lines = []string{cli.Printable(st.ConfigFile)}
	}
	return lines
}

// reloadLines describe the last change of the configuration.
func reloadLines(st control.Status, now time.Time) []string {
	switch r := st.Reload; {
	case st.ConfigError != "":
		return []string{"error: " + cli.Printable(st.ConfigError), "the configuration from before is still in force"}
	case r == nil:
		return nil
	default:
		return []string{"reloaded " + cli.Duration(now.Sub(r.Time)) + " ago: " + cli.Printable(r.Changes)}
	}
}

func metricsLines(st control.Status) (lines []string) {
	if st.Telemetry != "" {
		lines = append(lines, "http://"+cli.Printable(st.Telemetry)+"/metrics")
	}
	if st.Textfile != "" {
		lines = append(lines, cli.Printable(st.Textfile))
	}
	return lines
}

// auditLines report that decisions are not kept; they are empty otherwise.
func auditLines(a *control.Audit, now time.Time) []string {
	if a == nil || a.Error == "" {
		return nil
	}
	lines := []string{"error: " + fmt.Sprintf("%s cannot be written, for %s now", cli.Printable(cmp.Or(a.Place, a.File)), cli.Duration(now.Sub(a.Since))), cli.Printable(a.Error)}
	if a.Lost > 0 {
		lines = append(lines, fmt.Sprintf("it lacks %s since then", cli.Counted(a.Lost, "decision")))
	}
	return lines
}

// listenerLines can be pasted into a shell, comment and all.
func listenerLines(all []control.Listener) []string {
	var lines []string
	for _, l := range all {
		about := []string{"vault " + cli.Printable(l.Vault)}
		if l.Check != "" {
			about = append(about, cli.Printable(l.Check))
		}
		if l.PID != 0 {
			about = append(about, fmt.Sprintf("only for pid %d and what it starts", l.PID))
		}
		if l.RequireHeader {
			about = append(about, "only with X-Vault-Request")
		}
		scheme := "http://"
		if l.Network == "unix" {
			scheme = "unix://"
		}
		lines = append(lines, "export VAULT_ADDR="+cli.ShellQuote(scheme+cli.Printable(l.Address))+"\t# "+strings.Join(about, ", "))
	}
	return lines
}

func vaultLines(all []control.Vault) []string {
	var lines []string
	for _, v := range all {
		state := "up"
		switch {
		case v.Error != "":
			state = "down: " + cli.Printable(v.Error)
		case v.Sealed:
			state = "sealed"
		case !v.Up:
			state = "down"
		}
		if v.Version != "" {
			state += ", version " + cli.Printable(v.Version)
		}
		if v.Express > 0 {
			state += fmt.Sprintf(", %s passed straight through, with nothing to ask about", cli.Counted(int(v.Express), "request"))
		}
		lines = append(lines, cli.Printable(v.Name)+"\t"+cli.Printable(v.Address)+"\t"+state)
	}
	return lines
}

func ruleLines(all []control.Rule) []string {
	var lines []string
	for _, r := range all {
		where := cli.Printable(strings.Join(r.Paths, ", "))
		if r.Namespace != "" {
			where += " in namespace " + cli.Printable(r.Namespace)
		}
		what := "all operations"
		if len(r.Capabilities) > 0 {
			what = cli.Printable(strings.Join(r.Capabilities, ", "))
		}
		how := cli.HowText(r)
		lines = append(lines, cli.Printable(r.Name)+"\t"+where+"\t"+what+"\t"+how)
	}
	if len(lines) == 0 {
		return []string{"none: only logins are completed"}
	}
	return lines
}

// suggestionLines describe a refusal, with the rule to paste.
func suggestionLines(one control.Suggestion) []string {
	where := cli.Printable(one.Path)
	if one.Namespace != "" {
		where += " in namespace " + cli.Printable(one.Namespace)
	}
	lines := []string{fmt.Sprintf("%s of %s at vault %s was refused (%s), although policies grant it:",
		cli.Printable(strings.Join(one.Operations, " and ")), where, cli.Printable(one.Vault), timesText(one.Count))}
	if one.Rule == "" {
		return append(lines, "probably it wants a second factor; no rule can name this path")
	}
	lines = append(lines, "probably it wants a second factor. A rule for it, to put into the configuration:")
	for line := range strings.Lines(one.Rule) {
		lines = append(lines, "  "+cli.PrintableLine(strings.TrimRight(line, "\n")))
	}
	return lines
}

func timesText(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func questionsLine(n int) string {
	if n == 0 {
		return "none is open"
	}
	return cli.Counted(n, "question") + " open: `stepup prompts`"
}

// askedLines are the prompters, or the command to run where none can ask, and what the others
// lack.
func askedLines(st control.Status) []string {
	var ways, others []string
	for _, name := range st.Prompters {
		if missing, ok := st.CannotAsk[name]; ok {
			others = append(others, "not by "+cli.Printable(name)+": "+cli.Printable(missing))
			continue
		}
		ways = append(ways, cli.Printable(name))
	}
	if st.Attached > 0 {
		ways = append(ways, cli.Counted(st.Attached, "attached terminal"))
	}
	if len(ways) == 0 {
		return append([]string{"no question can be shown now: run `stepup attach`"}, others...)
	}
	return append([]string{"asked by " + strings.Join(ways, ", ")}, others...)
}

func cacheLines(st control.Status, now time.Time) []string {
	lines := []string{storeLine(st.Cache)}
	for _, t := range st.Tokens {
		whose := "caller " + cli.Printable(t.Caller)
		if t.Scope != "" {
			whose += ", " + cli.Printable(t.Scope)
		}
		lines = append(lines, fmt.Sprintf("%s\tfor %s\t%s left\t%s\t%s",
			cli.Printable(t.Rule), whose, untilLock(t)+cli.Duration(t.Expires.Sub(now)), cli.UsesLeft(t.Uses), lastUse(t.LastUse, now)))
	}
	return lines
}

// untilLock says that the person wanted a token kept until a lock.
func untilLock(t control.Token) string {
	if t.Keep == "lock" {
		return "until a lock, at most "
	}
	return ""
}

func lastUse(u *control.Use, now time.Time) string {
	if u == nil {
		return "not used since the agent was started"
	}
	text := "used " + cli.Duration(now.Sub(u.Time)) + " ago"
	switch {
	case u.PID == 0:
		return text
	case u.Program == "":
		return text + fmt.Sprintf(" by pid %d", u.PID)
	}
	return text + fmt.Sprintf(" by %s (pid %d)", cli.Printable(u.Program), u.PID)
}

// storeLine is where tokens are kept, and why they are not in the keyring.
func storeLine(c control.Cache) string {
	if c.Store == agent.StoreMemory {
		return c.Store
	}
	switch state := keyring.Condition(c.State); state {
	case keyring.Available, keyring.Untested:
		return cli.Printable(c.Store + ", " + c.State)
	}
	line := "memory only, the keyring is " + cli.Printable(c.State)
	if c.Reason != "" {
		line += ": " + cli.Printable(c.Reason)
	}
	return line
}

// Package doctor is stepup doctor: it checks what stepup needs, and explains what would
// happen to a request.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/supervisor"
	"github.com/vault-stepup/stepup/config"
)

// A verdict is what a finding means; the words are shown.
type verdict string

const (
	good    verdict = "ok"
	doubted verdict = "warn" // works, but not as one may think, or not for long
	broken  verdict = "fail"
)

// A finding is one line of stepup doctor. Its texts have been made printable.
type finding struct {
	Verdict verdict `json:"verdict"`
	What    string  `json:"what"`
	Finding string  `json:"finding"`
	Hint    string  `json:"hint,omitempty"` // the way out
}

// A Report is the result of stepup doctor --format json.
type report struct {
	OK       bool      `json:"ok"` // nothing failed
	Findings []finding `json:"findings"`
}

// A check is one thing that is looked at. run returns soon after its
// context ends, which is limit from now.
type check struct {
	what  string
	limit time.Duration
	run   func(context.Context) []finding
}

// A doctor is one run of stepup doctor: what is known before anything is checked.
type doctor struct {
	*cli.Console

	file        string
	config      *config.Config // nil when it cannot be used
	diagnostics config.Diagnostics
	noConfig    error // why there is not even a file
	agent       control.Status
	agentErr    error // nil when it answers
	service     supervisor.State
	serviceErr  error
	testPrompt  bool
}

// How long a check may take. They run at the same time.
const (
	localLimit   = 8 * time.Second  // programs and sockets of this machine
	networkLimit = 15 * time.Second // connecting, TLS and one answer
	personLimit  = 45 * time.Second // a test question
	graceLimit   = 2 * time.Second  // for what cannot be stopped
)

// Command is stepup doctor.
func Command(c *cli.Console) *cobra.Command {
	a := &explainer{c}
	cmd := &cobra.Command{Use: "doctor [PATH]", Short: "check what stepup needs, with the fix for what is missing", Long: textLong + "\n\n" + textExplainLong, Args: cli.Takes(1)}
	f := cli.FormatFlag(cmd)
	test := cmd.Flags().Bool("test-prompt", false, "also show a test question in each place where you may be asked, and wait for your answer")
	o := a.explainFlags(cmd, f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkExplain(cmd, len(args) > 0); err != nil {
			return err
		}
		if len(args) > 0 {
			return a.explain(cmd, args[0], *o)
		}
		d := &doctor{Console: c, testPrompt: *test}
		d.collect(cmd.Context())
		show := func(one finding) { fmt.Fprint(c.Out, findingText(one)) }
		if *f == cli.FormatJSON {
			show = func(finding) {}
		}
		r := runChecks(cmd.Context(), d.checks(), show)
		if *f == cli.FormatJSON {
			if err := cli.WriteJSON(c.Out, r); err != nil {
				return err
			}
		}
		if !r.OK {
			return &cli.Error{Err: cli.ErrReported, Code: cli.ExitFailed}
		}
		return nil
	}
	return cmd
}

// collect finds out what several checks need.
func (d *doctor) collect(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, localLimit)
	defer cancel()
	var asking sync.WaitGroup
	asking.Go(func() { d.agent, d.agentErr = d.Client().Status(ctx) })
	asking.Go(func() { d.service, d.serviceErr = supervisor.New(d.Console).State(ctx) })
	asking.Go(func() {
		if d.file, d.noConfig = d.ConfigPath(); d.noConfig == nil {
			d.config, d.diagnostics = config.Load(d.file, d.ConfigOptions())
		}
	})
	asking.Wait()
}

// checks are all of them, in the order in which they are told.
func (d *doctor) checks() []check {
	all := []check{
		{"config", localLimit, d.checkConfig},
		{"files", localLimit, d.checkFiles},
		{"agent", localLimit, d.checkAgent},
		{"service", localLimit, d.checkService},
	}
	if d.config != nil {
		for _, l := range d.config.Listeners {
			all = append(all, check{"listener", localLimit, func(context.Context) []finding { return d.checkListener(l) }})
		}
		if address := d.config.Telemetry.Address; address != "" {
			all = append(all, check{"telemetry", localLimit, func(context.Context) []finding { return d.checkTelemetry(address) }})
		}
		for _, v := range d.config.Vaults {
			all = append(all, check{vaultName(v.Name), networkLimit, func(ctx context.Context) []finding { return checkVault(ctx, v) }})
		}
	}
	return append(all,
		check{"keyring", localLimit, func(ctx context.Context) []finding { return checkKeyring(ctx, d.config, d.agentKeyring()) }},
		check{"desktop", personLimit, func(ctx context.Context) []finding { return checkDesktop(ctx, d.config, d.testPrompt) }},
		check{"environment", localLimit, func(context.Context) []finding { return d.environment().check() }},
	)
}

// runChecks runs all at the same time and shows what they find in their order, as
// soon as it is there.
func runChecks(ctx context.Context, all []check, show func(finding)) report {
	results := make([]chan []finding, len(all))
	for i, e := range all {
		results[i] = make(chan []finding, 1) // a late check does not wait for a reader
		go func() {
			limited, cancel := context.WithTimeout(ctx, e.limit)
			defer cancel()
			results[i] <- e.run(limited)
		}()
	}
	r := report{OK: true, Findings: []finding{}}
	start := time.Now()
	for i, e := range all {
		for _, one := range e.await(ctx, results[i], start) {
			r.OK = r.OK && one.Verdict != broken
			r.Findings = append(r.Findings, one)
			show(one)
		}
	}
	return r
}

// await is what the check has found since start, or that it has not.
func (e check) await(ctx context.Context, result <-chan []finding, start time.Time) []finding {
	select {
	case found := <-result: // also where it was there in time and we come late
		return found
	default:
	}
	late := time.NewTimer(time.Until(start.Add(e.limit + graceLimit)))
	defer late.Stop()
	select {
	case found := <-result:
		return found
	case <-late.C:
		// What blocks (a folder on a server that is gone) ends with our process.
		return []finding{warn(e.what, "has not ended within %s", e.limit)}
	case <-ctx.Done():
		return []finding{warn(e.what, "not looked at: interrupted")}
	}
}

// pass, warn and fail make findings. What comes from outside is made printable
// here.
func pass(what, format string, args ...any) finding { return newFinding(good, what, format, args) }

func warn(what, format string, args ...any) finding { return newFinding(doubted, what, format, args) }

func fail(what, format string, args ...any) finding { return newFinding(broken, what, format, args) }

func newFinding(v verdict, what, format string, args []any) finding {
	return finding{Verdict: v, What: cli.Printable(what), Finding: cli.Printable(fmt.Sprintf(format, args...))}
}

// With adds the way out.
func (f finding) with(format string, args ...any) finding {
	f.Hint = cli.Printable(fmt.Sprintf(format, args...))
	return f
}

// Running reports whether an agent answers.
func (d *doctor) running() bool { return d.agentErr == nil }

// noAgentRuns reports whether there is none, which is not the same as one that
// does not answer.
func (d *doctor) noAgentRuns() bool { return errors.Is(d.agentErr, control.ErrNoAgent) }

// The help.
const (
	textLong = `Looks at everything that stepup needs, with an agent running or not, and prints a
line for each: ok, warn (it works, but not as you may think, or not for long) or
fail, and how to put it right:

  config       the file, and who else could change it
  agent        whether one runs, and which version
  service      whether your session starts it
  listener     whether the address is the agent's, free, or taken by somebody
  vault        name, connection, certificates, seal, version and clock
  keyring      whether it can be used
  desktop      what you could be asked with; --test-prompt asks
  environment  what this shell tells Vault's clients

It changes nothing, sends no token and shows none. Exits with 1 if anything has
failed.`

	textExplainLong = `With PATH, explains instead what would happen to a request for it, the path being
that of Vault's API (kv/data/prod/db, not kv/prod/db as in "vault kv"): which rule
it comes under and why the others do not take it, what the policies of your token
grant there, and whether a step-up token is there for it. Nobody is asked, and
nothing is changed.

The token is the one that the Vault CLI would use (VAULT_TOKEN, the token helper
or ~/.vault-token). Without a running agent, the configuration alone is explained.`
)

// findingText is one finding for people.
func findingText(f finding) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-4s  %s: %s\n", f.Verdict, f.What, f.Finding)
	if f.Hint != "" {
		fmt.Fprintf(&b, "      hint: %s\n", f.Hint)
	}
	return b.String()
}

// agentKeyring reports whether the agent that runs uses the keyring.
func (d *doctor) agentKeyring() bool {
	return d.running() && d.agent.Cache.State == string(cache.Available)
}

func (d *doctor) environment() *environment {
	return &environment{Console: d.Console, lookup: os.LookupEnv, config: d.config, served: d.agent.Listeners}
}

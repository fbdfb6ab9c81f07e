// Package doctor is stepup doctor: it checks what stepup needs, and explains what would
// happen to a request.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
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

// String is the finding for people.
func (f finding) String() string {
	text := fmt.Sprintf("%-4s  %s: %s\n", f.Verdict, f.What, f.Finding)
	if f.Hint != "" {
		text += fmt.Sprintf("      hint: %s\n", f.Hint)
	}
	return text
}

// findings collects what one check finds. What comes from outside is made printable here.
type findings struct {
	what string // that the next ones are about
	all  *[]finding
}

func (f findings) pass(format string, args ...any) findings { return f.add(good, format, args) }
func (f findings) warn(format string, args ...any) findings { return f.add(doubted, format, args) }
func (f findings) fail(format string, args ...any) findings { return f.add(broken, format, args) }

func (f findings) add(v verdict, format string, args []any) findings {
	*f.all = append(*f.all, finding{Verdict: v, What: cli.Printable(f.what), Finding: cli.Printable(fmt.Sprintf(format, args...))})
	return f
}

// with gives the last finding a way out.
func (f findings) with(format string, args ...any) {
	(*f.all)[len(*f.all)-1].Hint = cli.Printable(fmt.Sprintf(format, args...))
}

// about is for findings that belong to the same check and are about something else.
func (f findings) about(what string) findings { return findings{what, f.all} }

// A report is the result of stepup doctor --format json. It names no person and no host: a
// collector knows where it looks.
type report struct {
	Time         time.Time `json:"time"`
	Version      string    `json:"version"`       // of this program
	AgentVersion string    `json:"agent_version"` // of the agent that runs; "" where none answers
	Machine      machine   `json:"machine"`
	OK           bool      `json:"ok"` // nothing failed
	Findings     []finding `json:"findings"`
}

// A machine is what a program runs on, in Go's words.
type machine struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
}

// A check looks at one thing. run returns soon after its context ends, which is limit
// from the start.
type check struct {
	what  string
	limit time.Duration
	run   func(context.Context, findings)
}

// How long a check may take. They run at the same time.
const (
	localLimit   = 8 * time.Second  // programs and sockets of this machine
	networkLimit = 15 * time.Second // connecting, TLS and one answer
	personLimit  = 45 * time.Second // a test question
	graceLimit   = 2 * time.Second  // for what cannot be stopped
)

// A doctor is one run of stepup doctor: what is known before anything is checked.
type doctor struct {
	*cli.Console

	file        string
	config      *agent.Config // nil when it cannot be used
	diagnostics config.Diagnostics
	noConfig    error // why there is not even a file
	agent       control.Status
	agentErr    error // nil when it answers
	service     supervisor.State
	serviceErr  error
	testPrompt  bool
	unknown     UnknownMethods
}

// Command is stepup doctor.
func Command(c *cli.Console, unknown UnknownMethods) *cobra.Command {
	cmd := &cobra.Command{Use: "doctor [PATH]", Short: "check what stepup needs, with the fix for what is missing", Long: textLong, Args: cli.Takes(1)}
	d, format := doctor{Console: c, unknown: unknown}, cli.FormatFlag(cmd)
	cmd.Flags().BoolVar(&d.testPrompt, "test-prompt", false, "also show a test question in each place where you may be asked, and wait for your answer")
	x := explainFlags(c, cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkFlags(cmd, len(args) > 0); err != nil {
			return err
		}
		if len(args) > 0 {
			x.Path = args[0]
			return explain(cmd.Context(), c, *x, *format)
		}
		return d.run(cmd.Context(), *format)
	}
	return cmd
}

func (d *doctor) run(ctx context.Context, format string) error {
	d.collect(ctx)
	show := func(one finding) { fmt.Fprint(d.Out, one) }
	if format == cli.FormatJSON {
		show = func(finding) {}
	}
	r := runChecks(ctx, d.checks(), show)
	if format == cli.FormatJSON {
		r.Time, r.Version, r.AgentVersion = time.Now().Round(0), cli.Version(), cli.Printable(d.agent.Version)
		r.Machine = machine{runtime.GOOS, runtime.GOARCH}
		if err := cli.WriteJSON(d.Out, r); err != nil {
			return err
		}
	}
	if !r.OK {
		return &cli.Error{Err: cli.ErrReported, Code: cli.ExitFailed}
	}
	return nil
}

// collect finds out what several checks need.
func (d *doctor) collect(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, localLimit)
	defer cancel()
	var collecting sync.WaitGroup
	collecting.Go(func() {
		d.service, d.serviceErr = supervisor.New(d.Console).State(ctx)
		d.agentErr = control.ErrNoAgent
		if !d.service.Starts(d.ControlSocket()) { // a look starts nothing
			d.agent, d.agentErr = d.Client().Status(ctx)
		}
	})
	collecting.Go(func() {
		if d.file, d.noConfig = d.ConfigPath(); d.noConfig == nil {
			d.config, d.diagnostics = config.Load(d.file, d.ConfigOptions())
		}
	})
	collecting.Wait()
}

// checks are all of them, in the order in which their findings are shown.
func (d *doctor) checks() []check {
	var all []check
	add := func(what string, limit time.Duration, run func(context.Context, findings)) {
		all = append(all, check{what, limit, run})
	}
	add("config", localLimit, func(_ context.Context, f findings) { checkConfig(d, f) })
	add("files", localLimit, func(_ context.Context, f findings) { checkFiles(d, f) })
	add("agent", localLimit, func(_ context.Context, f findings) { checkAgent(d, f) })
	add("service", localLimit, func(_ context.Context, f findings) { checkService(d, f) })
	if d.config != nil {
		for _, l := range d.config.Listeners {
			add("listener "+l.Address, localLimit, func(_ context.Context, f findings) { checkListener(d, f, l) })
		}
		if address := d.config.Telemetry.Address; address != "" {
			add("telemetry "+address, localLimit, func(_ context.Context, f findings) { checkTelemetry(d, f, address) })
		}
		for _, v := range d.config.Vaults {
			add("vault "+v.Name, networkLimit, func(ctx context.Context, f findings) { checkVault(ctx, f, v) })
			if len(d.config.Rules)+len(d.config.Methods) > 0 {
				add("rules", networkLimit, rulesCheck{d, v, kvPaths(d.config, v.Name)}.run)
			}
		}
	}
	add("keyring", localLimit, func(ctx context.Context, f findings) { checkKeyring(ctx, d, f) })
	add("desktop", personLimit, func(ctx context.Context, f findings) { checkDesktop(ctx, d, f) })
	add("environment", localLimit, func(_ context.Context, f findings) { checkEnvironment(d, f) })
	return all
}

// runChecks runs all at the same time and shows what they find in their order, as
// soon as it is there.
func runChecks(ctx context.Context, all []check, show func(finding)) report {
	results := make([]chan []finding, len(all))
	for i, c := range all {
		results[i] = make(chan []finding, 1) // a check that is cut short does not wait for a reader
		go func() {
			limited, cancel := context.WithTimeout(ctx, c.limit)
			defer cancel()
			var found []finding
			c.run(limited, findings{c.what, &found})
			results[i] <- found
		}()
	}
	r := report{OK: true, Findings: []finding{}}
	start := time.Now()
	for i, c := range all {
		for _, one := range c.await(ctx, results[i], start) {
			r.OK = r.OK && one.Verdict != broken
			r.Findings = append(r.Findings, one)
			show(one)
		}
	}
	return r
}

// await is what the check has found since start, or that it has not.
func (c check) await(ctx context.Context, result <-chan []finding, start time.Time) (found []finding) {
	select {
	case found = <-result: // also where it was there in time and we come late
		return found
	default:
	}
	timeout := time.NewTimer(time.Until(start.Add(c.limit + graceLimit)))
	defer timeout.Stop()
	select {
	case found = <-result:
	case <-timeout.C:
		// What blocks (a folder on a server that is gone) ends with our process.
		findings{c.what, &found}.warn("has not ended within %s", c.limit)
	case <-ctx.Done():
		findings{c.what, &found}.warn("not looked at: interrupted")
	}
	return found
}

// running reports whether an agent answers.
func (d *doctor) running() bool { return d.agentErr == nil }

// noAgentRuns reports whether there is none, which is not the same as one that
// does not answer.
func (d *doctor) noAgentRuns() bool { return errors.Is(d.agentErr, control.ErrNoAgent) }

const textLong = `Looks at everything that stepup needs, with an agent running or not, and prints
a line for each: ok, warn (it works, but not as you may think, or not for long)
or fail, and how to put it right:

  config       the file, and who else could change it
  agent        whether one runs, and which version
  service      whether your session starts it
  listener     whether the address is the agent's, free, or taken by somebody
  vault        name, connection, certificates, seal, version and clock
  rules        whether their paths have the data/ of KV stores of version 2, and
               whether the server has their methods, if your token may see that
  keyring      whether it can be used
  desktop      what you could be asked with; --test-prompt asks
  environment  what this shell tells Vault's clients

It changes nothing and shows no token. Your token goes only to the Vault that
the clients of this shell go to, to ask which kind of store a rule's path is in.
Exits with 1 if anything has failed.

With PATH, explains instead what would happen to a request for it, the path
being that of Vault's API (kv/data/prod/db, not kv/prod/db as in "vault kv"):
which rule it comes under and why the others do not take it, what the policies
of your token grant there, and whether a step-up token is there for it. Nobody
is asked, and nothing is changed.

The token is the one that the Vault CLI would use (VAULT_TOKEN, the token helper
or ~/.vault-token). Without a running agent, and with --config, the
configuration alone is explained.`

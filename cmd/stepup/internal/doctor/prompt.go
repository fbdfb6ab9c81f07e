package doctor

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/setup"
	"github.com/vault-stepup/stepup/prompt"
)

func checkKeyring(ctx context.Context, d *doctor, f findings) {
	needed := d.config != nil && secretsInKeyring(d.config)
	switch {
	case d.config != nil && d.config.Cache.Store == agent.StoreMemory && !needed:
		f.pass("not used by this configuration")
		return
	case d.usesKeyring(needed) && d.agent.Cache.State == string(keyring.Available):
		f.pass("used by the agent")
		return
	}
	unusable := d.tryKeyring(ctx, needed)
	if unusable == nil {
		f.pass("can be used")
		return
	}
	find, consequence := f.warn, "step-up tokens are kept in memory and gone when the agent stops"
	if needed {
		find, consequence = f.fail, "the configuration wants secrets from it"
	}
	hint := `on a desktop, start its keyring (gnome-keyring, KWallet); elsewhere set store = "kernel" (Linux) or "memory" in the cache block`
	find("%s: %s; %s", unusable.Condition, unusable.Why, consequence).with("%s", cmp.Or(unusable.Hint(), hint))
}

// usesKeyring reports whether an agent runs that has used the keyring, or tried to. That of
// the kernel keeps step-up tokens only, not what a configuration may need besides.
func (d *doctor) usesKeyring(needed bool) bool {
	return d.running() && d.agent.Cache.State != string(keyring.Untested) &&
		(d.agent.Cache.Store == agent.StoreKeyring || d.agent.Cache.Store == agent.StoreKernel && !needed)
}

// tryKeyring returns why the keyring cannot be used, nil if it can. The word of the agent,
// which status repeats, is the truth about its tokens.
func (d *doctor) tryKeyring(ctx context.Context, needed bool) *keyring.Error {
	if d.usesKeyring(needed) {
		return &keyring.Error{Condition: keyring.Condition(d.agent.Cache.State), Why: d.agent.Cache.Reason}
	}
	var k keyring.Keyring = cli.Keyring()
	if d.config != nil && d.config.Cache.Store == agent.StoreKernel && !needed {
		k = keyring.Kernel{}
	}
	if err := keyring.Check(ctx, k); err != nil {
		return keyring.AsError(err)
	}
	return nil
}

// secretsInKeyring reports whether a configuration does not work without one.
func secretsInKeyring(c *agent.Config) bool {
	for _, m := range c.Methods {
		if m.PasscodeSource == "keyring" {
			return true
		}
	}
	for _, r := range c.Rules {
		if r.Grant.Password == "keyring" {
			return true
		}
	}
	return false
}

// checkDesktop looks at each way to ask of the configuration, else at the default one.
func checkDesktop(ctx context.Context, d *doctor, f findings) {
	p := agent.Prompt{Use: []string{agent.UseDesktop}}
	if d.config != nil {
		p = d.config.Prompt
	}
	if slices.Contains(p.Use, agent.UseDesktop) {
		checkDialogs(ctx, f, p.Pinentry)
		checkNotification(ctx, f.about("notification"))
	} else {
		f.pass("not used by this configuration, which asks by %s", strings.Join(p.Use, ", "))
	}
	if slices.Contains(p.Use, agent.UseCommand) {
		checkCommand(f.about("prompt command"), p.Command[0], "prompt")
	}
	checkSources(d, f)
	askpass := setup.NewAskpass(d.Env)
	checkAskpass(d, f.about(setup.AskpassEnv), askpass)
	if d.testPrompt {
		testPrompts(ctx, f, setup.Prompters(p, askpass, slog.New(slog.DiscardHandler)))
	}
}

// checkAskpass looks at the program of this shell's environment. The agent has that of its own.
func checkAskpass(d *doctor, f findings, a setup.Askpass) {
	switch {
	case a.Problem != "" && a.Program == "":
		f.fail("%s", a.Problem).with("%s", a.Fix)
		return
	case a.Program == "":
		return
	case a.Problem != "":
		f.warn("%s", a.Problem).with("%s", a.Fix)
	default:
		f.pass("%s", a.Program)
	}
	if d.running() && !slices.Contains(d.agent.Prompters, setup.AskpassName) {
		f.warn("the agent that runs was started without it").
			with("set it where the agent is started (~/.config/environment.d for the service), and start the agent again")
	}
}

const hintDesktop = "install zenity or kdialog, and run this in the session of your desktop; without one, `stepup attach` and `stepup exec` ask in a terminal"

func checkDialogs(ctx context.Context, f findings, pinentry string) {
	if _, err := exec.LookPath(pinentry); pinentry != "" && err != nil {
		f.about("pinentry").warn("%s is not found in PATH: other windows ask in its place", pinentry).with("install it, or write its full path into the prompt block")
	}
	programs, err := setup.Dialogs(pinentry, nil).Available(ctx)
	if err != nil {
		f.warn("%s", missing(err)).with(hintDesktop)
		return
	}
	f.pass("can be asked with %s", strings.Join(programs, ", "))
}

func checkNotification(ctx context.Context, f findings) {
	if err := setup.Notifications().Available(ctx); err != nil {
		f.warn("%s", missing(err)).with("start a notification daemon (dunst, mako) in your session; without one, dialogs are all you see")
		return
	}
	f.pass("can be shown")
}

// missing is what is not there, without saying once more that something is not.
func missing(err error) string {
	return strings.TrimPrefix(err.Error(), prompt.ErrUnavailable.Error()+": ")
}

// checkSources looks at the programs that give codes and passwords.
func checkSources(d *doctor, f findings) {
	if d.config == nil {
		return
	}
	for _, m := range d.config.Methods {
		if len(m.PasscodeCommand) > 0 {
			checkCommand(f.about("passcode_command of "+m.Name), m.PasscodeCommand[0], "mfa_method")
		}
	}
	for _, r := range d.config.Rules {
		if len(r.Grant.PasswordCommand) > 0 {
			checkCommand(f.about("password command of "+r.Name), r.Grant.PasswordCommand[0], "grant")
		}
	}
}

func checkCommand(f findings, program, block string) {
	path, err := exec.LookPath(program)
	switch {
	case err == nil:
		f.pass("%s", path)
	case filepath.IsAbs(program) && errors.Is(err, fs.ErrNotExist):
		f.fail("%s is not there", program).with("install it, or correct the path in the %s block", block)
	case filepath.IsAbs(program):
		f.fail("%s is no program that can be run", program).with("`chmod +x` makes a script one")
	default:
		f.fail("%s is not found in PATH", program).with("install it, or write its full path into the %s block", block)
	}
}

// testPrompts puts a question up everywhere at once, as the agent does, and waits
// for one answer in each place.
func testPrompts(ctx context.Context, f findings, named []prompt.Named) {
	named = slices.DeleteFunc(named, func(n prompt.Named) bool { return n.Name == agent.UseTerminal })
	errs := make([]error, len(named))
	deadline := time.Now().Add(personLimit - 5*time.Second)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	var asking sync.WaitGroup
	for i, n := range named {
		asking.Go(func() { _, errs[i] = n.Prompter.Prompt(ctx, testQuestion(deadline)) })
	}
	asking.Wait() // each ends with its context
	for i, n := range named {
		tested(f.about("test "+n.Name), errs[i])
	}
}

func testQuestion(deadline time.Time) prompt.Request {
	return prompt.Request{
		ID: "doctor", Kind: prompt.Confirm, Rule: "doctor", Vault: "none", Path: "a/test/of/stepup/doctor", Operation: "read",
		Attempt: 1, Attempts: 1, Message: "a test by stepup doctor: any answer is right", Deadline: deadline,
		Requester: prompt.Requester{PID: os.Getpid(), UID: os.Getuid(), Chain: []string{"stepup"}},
	}
}

func tested(f findings, err error) {
	switch {
	case err == nil:
		f.pass("was shown and answered")
	case errors.Is(err, prompt.ErrDenied):
		f.pass("was shown and denied")
	case errors.Is(err, prompt.ErrDismissed):
		f.pass("was shown and closed")
	case errors.Is(err, prompt.ErrUnavailable):
		f.warn("%s", missing(err)).with(hintDesktop)
	case errors.Is(err, context.DeadlineExceeded):
		f.warn("nobody has answered it").with(hintDesktop)
	default:
		f.warn("could not be shown: %v", err)
	}
}

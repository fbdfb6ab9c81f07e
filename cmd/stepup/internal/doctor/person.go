package doctor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/setup"
	"github.com/vault-stepup/stepup/config"
	"github.com/vault-stepup/stepup/prompt"
)

// checkKeyring looks for the keyring. c is nil where there is no configuration; used
// says that the agent has it already.
func checkKeyring(ctx context.Context, c *config.Config, used bool) []finding {
	const what = "keyring"
	if c != nil && c.Cache.Store == config.StoreMemory && !secretsInKeyring(c) {
		return []finding{pass(what, "not used by this configuration")}
	}
	if used {
		return []finding{pass(what, "used by the agent")}
	}
	// Nothing has this name: not to be there is the good answer.
	_, err := cli.Keyring().Get(ctx, "stepup", "doctor")
	var ring *cache.RingError
	switch {
	case err == nil, errors.Is(err, cache.ErrNotFound):
		return []finding{pass(what, "can be used")}
	case !errors.As(err, &ring):
		ring = &cache.RingError{Condition: cache.Failed, Why: err.Error()}
	}
	find, consequence := warn, "step-up tokens are kept in memory and gone when the agent stops"
	if c != nil && secretsInKeyring(c) {
		find, consequence = fail, "the configuration wants secrets from it"
	}
	hint := `on a desktop, start its keyring (gnome-keyring, KWallet); elsewhere set store = "memory" in the cache block`
	if ring.Condition == cache.Locked {
		hint = cli.HintUnlock
	}
	return []finding{find(what, "%s: %s; %s", ring.Condition, ring.Why, consequence).with("%s", hint)}
}

// secretsInKeyring reports whether a configuration does not work without one.
func secretsInKeyring(c *config.Config) bool {
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

// checkDesktop looks at each way to ask of the configuration; nil is the default one.
func checkDesktop(ctx context.Context, c *config.Config, ask bool) []finding {
	p := config.Prompt{Use: []string{config.UseDesktop}}
	if c != nil {
		p = c.Prompt
	}
	var all []finding
	if slices.Contains(p.Use, config.UseDesktop) {
		all = append(all, checkDialogs(ctx), checkNotification(ctx))
	} else {
		all = append(all, pass("desktop", "not used by this configuration, which asks by %s", strings.Join(p.Use, ", ")))
	}
	if slices.Contains(p.Use, config.UseCommand) {
		all = append(all, checkCommand(p.Command[0]))
	}
	if ask {
		all = append(all, testPrompts(ctx, p)...)
	}
	return all
}

func checkDialogs(ctx context.Context) finding {
	programs, err := setup.Dialogs(nil).Available(ctx)
	if err != nil {
		return warn("desktop", "%s", unavailable(err)).with(hintDesktop)
	}
	return pass("desktop", "can be asked with %s", strings.Join(programs, ", "))
}

func checkNotification(ctx context.Context) finding {
	if err := setup.Notifications().Available(ctx); err != nil {
		return warn("notification", "%s", unavailable(err)).with("start a notification daemon (dunst, mako) in your session; without one, dialogs are all you see")
	}
	return pass("notification", "can be shown")
}

// unavailable is what is missing, without saying once more that something is.
func unavailable(err error) string {
	return strings.TrimPrefix(err.Error(), prompt.ErrUnavailable.Error()+": ")
}

func checkCommand(program string) finding {
	path, err := exec.LookPath(program)
	if err != nil {
		return fail("prompt command", "%s is not found in PATH", program).with("write its full path into the prompt block")
	}
	return pass("prompt command", "%s", path)
}

// testPrompts puts a question up everywhere at once, as the agent does, and waits
// for one answer in each place.
func testPrompts(ctx context.Context, p config.Prompt) []finding {
	p.Use = slices.DeleteFunc(slices.Clone(p.Use), func(use string) bool { return use == config.UseTerminal })
	named := setup.Prompters(p, slog.New(slog.DiscardHandler))
	results := make([]chan finding, len(named))
	deadline := time.Now().Add(personLimit - 5*time.Second)
	for i, n := range named {
		results[i] = make(chan finding, 1)
		go func() {
			limited, cancel := context.WithDeadline(ctx, deadline)
			defer cancel()
			_, err := n.Prompter.Prompt(limited, testQuestion(deadline))
			results[i] <- tested("test "+n.Name, err)
		}()
	}
	all := make([]finding, 0, len(named))
	for _, r := range results {
		all = append(all, <-r) // each ends with its context
	}
	return all
}

func testQuestion(deadline time.Time) prompt.Request {
	return prompt.Request{
		ID: "doctor", Kind: prompt.Confirm, Rule: "doctor", Vault: "none", Path: "a/test/of/stepup/doctor", Operation: "read",
		Attempt: 1, Attempts: 1, Message: "a test by stepup doctor: any answer is right", Deadline: deadline,
		Requester: prompt.Requester{PID: os.Getpid(), UID: os.Getuid(), Chain: []string{"stepup"}},
	}
}

func tested(what string, err error) finding {
	switch {
	case err == nil:
		return pass(what, "was shown and answered")
	case errors.Is(err, prompt.ErrDenied):
		return pass(what, "was shown and denied")
	case errors.Is(err, prompt.ErrDismissed):
		return pass(what, "was shown and closed")
	case errors.Is(err, prompt.ErrUnavailable):
		return warn(what, "%s", unavailable(err)).with(hintDesktop)
	case errors.Is(err, context.DeadlineExceeded):
		return warn(what, "nobody has answered it").with(hintDesktop)
	}
	return warn(what, "%v", fmt.Errorf("could not be shown: %w", err))
}

const hintDesktop = "install zenity or kdialog, and run this in the session of your desktop; without one, `stepup attach` and `stepup exec` ask in a terminal"

package setup

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"

	"github.com/vault-stepup/stepup/ownership"
	"github.com/vault-stepup/stepup/prompt"
)

// AskpassEnv names a program in the manner of SSH_ASKPASS. It is read from the agent's own
// environment, never from that of a program that makes a request.
const AskpassEnv = "STEPUP_ASKPASS"

// AskpassName is the prompter of that program in status and logs.
const AskpassName = "askpass"

// An Askpass is what AskpassEnv names. The zero value is none.
type Askpass struct {
	Program string // its path; "" where it cannot be used
	Problem string // why it cannot be used, or should not; ""
	Fix     string // of a problem; ""
}

// NewAskpass reads the variable, and looks at the program.
func NewAskpass(env func(string) string) Askpass {
	name := env(AskpassEnv)
	if name == "" {
		return Askpass{}
	}
	// A relative path would depend on the folder that the agent is started from.
	if filepath.Base(name) != name && !filepath.IsAbs(name) {
		return Askpass{Problem: fmt.Sprintf("%s is not an absolute path: %s", AskpassEnv, name), Fix: "set it to a program's full path, or to its name in PATH"}
	}
	path, err := exec.LookPath(name)
	if err != nil || !filepath.IsAbs(path) { // ".", where PATH names it
		return Askpass{Problem: fmt.Sprintf("%s names no program that can be run: %s", AskpassEnv, name), Fix: "install it, or set the variable to another program's full path"}
	}
	a := Askpass{Program: path}
	// As with the programs of the configuration, that is no reason not to run it: package
	// managers install into folders of the group that manages them.
	if found, bad := errors.AsType[*ownership.Unsafe](ownership.Check(path)); bad {
		a.Problem, a.Fix = fmt.Sprintf("another user could change the program of %s: %v", AskpassEnv, found), found.Fix()
	}
	return a
}

// Notes say in the status what is wrong with it.
func (a Askpass) Notes() []string {
	switch {
	case a.Problem == "":
		return nil
	case a.Program == "":
		return []string{a.Problem + ": it is not used; " + a.Fix + ", and start the agent again"}
	}
	return []string{a.Problem + "; " + a.Fix}
}

// firstOf asks by the first of two prompters, and by the second where that cannot ask.
type firstOf struct{ first, second prompt.Prompter }

// Prompt implements [prompt.Prompter].
func (f firstOf) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	answer, err := f.first.Prompt(ctx, r)
	if ctx.Err() != nil || !errors.Is(err, prompt.ErrUnavailable) {
		return answer, err
	}
	answer, second := f.second.Prompt(ctx, r)
	if errors.Is(second, prompt.ErrUnavailable) {
		return "", err // the way out leads through the program that the person has named
	}
	return answer, second
}

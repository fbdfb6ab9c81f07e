package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cache"
)

const (
	// helperLimit bounds a token helper; it may ask for a finger.
	helperLimit = 60 * time.Second
	maxToken    = 64 << 10
)

// stepUp gets the token of a rule before the command starts, so that nothing
// interrupts it later.
func (x *execution) stepUp(ctx context.Context) error {
	token, err := x.callerToken(ctx, x.environ(os.Environ()))
	if errors.Is(err, errNoToken) && !x.knownRule(ctx) {
		return x.noRule() // no login would help
	}
	if err != nil {
		return err
	}
	got, err := x.client.Obtain(ctx, control.Obtain{
		Rule: x.rule, Vault: x.vaultName, Namespace: cmp.Or(x.env("VAULT_NAMESPACE"), x.env("BAO_NAMESPACE")), Token: token,
	})
	switch {
	case errors.Is(err, control.ErrHeaderGrant):
		return usage(fmt.Errorf(textRuleHeader, printable(x.rule)), hintRuleHeader)
	case errors.Is(err, control.ErrNoRule):
		return x.noRule()
	case err != nil:
		return err
	case got.OK():
		return nil
	}
	failed := &hinted{error: fmt.Errorf(textNotSteppedUp, printable(strings.TrimPrefix(got.Message, "stepup: "))), code: exitFailed}
	switch got.Outcome {
	case "denied", "timeout", "rejected":
		failed.code = exitRefused
	}
	return failed
}

func (x *execution) noRule() error {
	return usage(fmt.Errorf(textNoRule, printable(x.rule), printable(x.vaultName)), hintRules)
}

// knownRule reports whether the agent has the rule, for any vault; it is true
// where the agent does not say.
func (x *execution) knownRule(ctx context.Context) bool {
	s, err := x.client.Status(ctx)
	return err != nil || slices.ContainsFunc(s.Rules, func(r control.Rule) bool { return r.Name == x.rule })
}

// callerToken is the token that a command will use, found as the Vault CLI finds
// it: VAULT_TOKEN, the token helper, ~/.vault-token. environ is for the helper, which
// wants to know the address that the command is told. errNoToken: there is none.
func (a *app) callerToken(ctx context.Context, environ []string) (cache.Secret, error) {
	if _, token := a.first([]string{"VAULT_TOKEN", "BAO_TOKEN"}); token != "" {
		return cache.Secret(token), nil
	}
	file, err := a.helperFile(vaultCLI())
	if err != nil {
		return "", err
	}
	c, err := readHelperFile(file)
	if err != nil {
		return "", err
	}
	var text []byte
	if c.helper != "" {
		text, err = a.askHelper(ctx, c.helper, environ)
	} else {
		text, err = a.readTokenFile()
	}
	if err != nil {
		return "", err
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return "", &hinted{error: errNoToken, hint: hintNoToken}
	}
	return cache.Secret(text), nil
}

// askHelper runs the CLI's token helper.
func (a *app) askHelper(ctx context.Context, helper string, environ []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, helperLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, helper, "get") //nolint:gosec // named in the person's own configuration
	cmd.Env = environ
	cmd.Stderr = a.err
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout = &limitedWriter{to: &out, left: maxToken}
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf(textHelperFailed, printable(helper), err)
	}
	return out.Bytes(), nil
}

// limitedWriter drops what is too much.
type limitedWriter struct {
	to   *bytes.Buffer
	left int
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	keep := p[:min(len(p), l.left)]
	l.left -= len(keep)
	l.to.Write(keep)
	return len(p), nil
}

func (a *app) readTokenFile() ([]byte, error) {
	home := a.env("HOME")
	if home == "" {
		var err error
		if home, err = os.UserHomeDir(); err != nil {
			return nil, errHelperNoFolder
		}
	}
	text, err := os.ReadFile(filepath.Join(home, ".vault-token"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

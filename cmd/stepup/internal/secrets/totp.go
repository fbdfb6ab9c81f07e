// Package secrets is stepup totp and stepup token-helper: what the keyring of the
// operating system keeps for the user.
package secrets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// A totp keeps the seeds of TOTP methods in the keyring.
type totp struct {
	*cli.Console
	seeds keyring.Seeds
	image string // --image of add
}

// TOTP is stepup totp.
func TOTP(c *cli.Console) *cobra.Command {
	t := &totp{Console: c, seeds: keyring.NewSeeds(cli.Keyring())}
	sub := func(cmd *cobra.Command, run func(ctx context.Context, method string) error) *cobra.Command {
		cmd.Args, cmd.ValidArgsFunction = takesMethod, c.CompleteMethod
		cmd.RunE = func(cmd *cobra.Command, args []string) error { return run(cmd.Context(), args[0]) }
		return cmd
	}
	add := sub(&cobra.Command{Use: "add METHOD", Short: "keep a seed", Long: textTOTPAddLong}, t.add)
	add.Flags().StringVar(&t.image, "image", "", "read the QR code in this PNG or JPEG file instead of standard input")
	return cli.Group(&cobra.Command{Use: "totp", Short: "TOTP seeds in the keyring", Long: textTOTPLong},
		add,
		sub(&cobra.Command{Use: "code METHOD", Short: "print the current code", Long: textTOTPCodeLong}, t.code),
		sub(&cobra.Command{Use: "remove METHOD", Short: "forget a seed"}, t.remove))
}

const hintNoKeyring = "a seed is kept only in the keyring of a desktop (gnome-keyring, KWallet); without one, type the codes, or set passcode_command"

// takesMethod wants the name of a method. What is none may be a seed that was put
// into the wrong place, and is not repeated.
func takesMethod(cmd *cobra.Command, args []string) error {
	if err := cli.Takes(0, "METHOD")(cmd, args); err != nil {
		return err
	}
	if args[0] == "" || strings.ContainsAny(args[0], ": \t\r\n?") || cli.Printable(args[0]) != args[0] {
		return errors.New("METHOD is no name of a method; a seed is never an argument, because other users of this machine could read it")
	}
	return nil
}

func (t *totp) add(ctx context.Context, method string) error {
	// Asked first: a seed that cannot be kept should not be typed. And Vault
	// shows a seed once, so that one which is replaced may be lost for good.
	switch _, err := t.seeds.Get(ctx, method); {
	case err == nil:
		return &cli.Error{Err: fmt.Errorf("there is a seed for %s already", method), Hint: fmt.Sprintf("`stepup totp remove %s` forgets it", cli.ShellQuote(method))}
	case !errors.Is(err, keyring.ErrNotFound):
		return cli.KeyringFailure(err, hintNoKeyring)
	}
	otpauth, err := t.readSeed(ctx)
	if err != nil {
		return err
	}
	switch err := t.seeds.Put(ctx, method, otpauth); {
	case errors.Is(err, keyring.ErrSeed):
		return &cli.Error{Err: err, Hint: fmt.Sprintf("pipe it: `… | stepup totp add %s`, or name an image with --image FILE", cli.ShellQuote(method))}
	case errors.Is(err, keyring.ErrTooLarge):
		return errSeedLong
	case err != nil:
		return cli.KeyringFailure(err, hintNoKeyring)
	}
	t.Say("kept the seed of %s in the keyring", method)
	t.Notify("both factors are on this machine now: whoever can open the keyring needs no phone any more")
	return nil
}

// readSeed takes the otpauth:// URL from an image, a keyboard or standard input.
func (t *totp) readSeed(ctx context.Context) (secret.Secret, error) {
	if t.image != "" {
		return seedInImage(t.image)
	}
	if t.Typed() {
		return typeSeed(ctx)
	}
	const limit = 4 << 10 // more than any otpauth:// URL needs
	text, err := io.ReadAll(io.LimitReader(t.In, limit+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("reading standard input: %w", err)
	case len(text) > limit:
		return "", errSeedLong
	}
	otpauth := secret.Secret(strings.TrimSpace(string(text)))
	if otpauth == "" {
		return "", errors.New("no otpauth:// URL or secret on standard input")
	}
	return otpauth, nil
}

// typeSeed reads a line that is not shown.
func typeSeed(ctx context.Context) (secret.Secret, error) {
	// A signal must not leave the terminal without echo.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	tty, err := terminal.Open()
	if err != nil {
		return "", err
	}
	defer func() { _ = tty.Close() }()
	line, err := tty.ReadLine(ctx, false, func() error {
		_, err := io.WriteString(tty, "otpauth:// URL or secret (not shown): ")
		return err
	})
	_, _ = io.WriteString(tty, "\n")
	if err != nil {
		return "", &cli.Error{Err: cli.ErrNotAnswered, Code: cli.ExitRefused}
	}
	return secret.Secret(strings.TrimSpace(line)), nil
}

func seedInImage(file string) (secret.Secret, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	otpauth, err := readQR(f)
	if err != nil {
		return "", fmt.Errorf("no QR code could be read from %s: %v", cli.Printable(file), err)
	}
	return otpauth, nil
}

func (t *totp) code(ctx context.Context, method string) error {
	code, left, err := t.seeds.Code(ctx, method, time.Now())
	if errors.Is(err, keyring.ErrNotFound) {
		return seedNone(method)
	}
	if err != nil {
		return cli.KeyringFailure(err, hintNoKeyring)
	}
	if _, err := io.WriteString(t.Out, code.Reveal()+"\n"); err != nil {
		return err
	}
	if _, ok := t.Terminal(); ok {
		t.Notify("%d s left", int((left+time.Second-1)/time.Second))
	}
	return nil
}

func (t *totp) remove(ctx context.Context, method string) error {
	_, err := t.seeds.Get(ctx, method)
	if err != nil && !errors.Is(err, keyring.ErrNotFound) {
		return cli.KeyringFailure(err, hintNoKeyring)
	}
	// Also where none was found: an item that cannot be read goes as well.
	if gone := t.seeds.Delete(ctx, method); gone != nil {
		return cli.KeyringFailure(gone, hintNoKeyring)
	}
	if err != nil {
		return seedNone(method)
	}
	t.Say("forgot the seed of %s", method)
	return nil
}

// The help.
const (
	textTOTPLong = `Keeps the seed of a TOTP method in the keyring of the operating system, so that
this machine can make the codes: "stepup totp code", and the agent where an
mfa_method says passcode_source = "keyring" (it still asks you to confirm).

What this gives up: a second factor is worth something because it is somewhere
else. With the seed here, both factors are on one machine, and whoever can open
your keyring (a program that you run, or somebody at your unlocked screen) needs
no phone and no key any more. If you can, let a hardware key make the codes
instead: passcode_command with ykman, for example.`

	textTOTPAddLong = `Keeps the seed of METHOD, the name that the method has in Vault. It is read from
standard input, as the otpauth:// URL that Vault gives out, or typed without
being shown, or read from the QR code in an image. A bare secret in base32 is
taken as well, for codes of 6 digits, SHA1 and 30 s:

  vault read -field=url sys/mfa/method/totp/corp_totp/generate |
    stepup totp add corp_totp
  stepup totp add corp_totp --image qr.png

A seed is never an argument: those can be read by every user of this machine.
One that is there already is not replaced. An image that you saved is a copy of
the second factor: delete it afterwards.

With the seed in the keyring, both factors are on this machine: see
"stepup totp --help".`

	textTOTPCodeLong = `Prints the code of METHOD. On a terminal it also says for how long it will be
the current one. Vault accepts each code once.`
)

var errSeedLong = errors.New("that is too long for an otpauth:// URL")

func seedNone(method string) error {
	return &cli.Error{Err: fmt.Errorf("there is no seed for %s in the keyring", method), Hint: fmt.Sprintf("`stepup totp add %s` keeps one", cli.ShellQuote(method))}
}

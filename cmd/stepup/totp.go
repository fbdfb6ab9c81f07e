package main

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

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// maxSeedInput is more than any otpauth:// URL needs.
const maxSeedInput = 4 << 10

func (a *app) totpCommand() *cobra.Command {
	add := &cobra.Command{Use: "add METHOD", Short: textTOTPAdd, Long: textTOTPAddLong, Args: takesMethod(), ValidArgsFunction: a.completeMethod}
	image := add.Flags().String("image", "", textTOTPImage)
	add.RunE = func(cmd *cobra.Command, args []string) error { return a.addSeed(cmd.Context(), args[0], *image) }
	return group(&cobra.Command{Use: "totp", Short: textTOTP, Long: textTOTPLong},
		add,
		&cobra.Command{
			Use: "code METHOD", Short: textTOTPCode, Long: textTOTPCodeLong, Args: takesMethod(), ValidArgsFunction: a.completeMethod,
			RunE: func(cmd *cobra.Command, args []string) error { return a.printCode(cmd.Context(), args[0]) },
		},
		&cobra.Command{
			Use: "remove METHOD", Short: textTOTPRemove, Args: takesMethod(), ValidArgsFunction: a.completeMethod,
			RunE: func(cmd *cobra.Command, args []string) error { return a.removeSeed(cmd.Context(), args[0]) },
		})
}

// takesMethod wants the name of a method. What is none may be a seed that was put
// into the wrong place, and is not repeated.
func takesMethod() cobra.PositionalArgs {
	count := takes(0, "METHOD")
	return func(cmd *cobra.Command, args []string) error {
		if err := count(cmd, args); err != nil {
			return err
		}
		if args[0] == "" || strings.ContainsAny(args[0], ": \t\r\n?") || printable(args[0]) != args[0] {
			return errMethodArgument
		}
		return nil
	}
}

func seeds() *cache.Seeds { return cache.NewSeeds(keyRing(), keyringScope) }

func (a *app) addSeed(ctx context.Context, method, image string) error {
	all := seeds()
	// Asked first: nobody shall type a seed that then cannot be kept. And Vault
	// shows a seed once, so that one which is replaced may be lost for good.
	switch _, err := all.Get(ctx, method); {
	case err == nil:
		return seedThere(method)
	case !errors.Is(err, cache.ErrNotFound):
		return ringFailure(err, "")
	}
	otpauth, err := a.readSeed(ctx, image)
	if err != nil {
		return err
	}
	switch err := all.Add(ctx, method, otpauth); {
	case errors.Is(err, cache.ErrSeed):
		return &hinted{error: err, hint: fmt.Sprintf(hintSeed, shellQuote(method))}
	case errors.Is(err, cache.ErrTooLarge):
		return errSeedLong
	case err != nil:
		return ringFailure(err, "")
	}
	a.say(textSeedKept, method)
	a.notify(textSeedNotice)
	return nil
}

// readSeed takes the otpauth:// URL from an image, a keyboard or standard input.
func (a *app) readSeed(ctx context.Context, image string) (cache.Secret, error) {
	if image != "" {
		return seedInImage(image)
	}
	if a.typed() {
		return typeSeed(ctx)
	}
	text, err := io.ReadAll(io.LimitReader(a.in, maxSeedInput+1))
	switch {
	case err != nil:
		return "", fmt.Errorf(textStdin, err)
	case len(text) > maxSeedInput:
		return "", errSeedLong
	}
	otpauth := cache.Secret(strings.TrimSpace(string(text)))
	if otpauth == "" {
		return "", errSeedEmpty
	}
	return otpauth, nil
}

// typeSeed reads a line that is not shown.
func typeSeed(ctx context.Context) (cache.Secret, error) {
	// A signal must not leave the terminal without echo.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	tty, err := terminal.Open()
	if err != nil {
		return "", err
	}
	defer func() { _ = tty.Close() }()
	line, err := tty.ReadLine(ctx, false, func() error {
		_, err := io.WriteString(tty, textSeedAsk)
		return err
	})
	_, _ = io.WriteString(tty, "\n")
	if err != nil {
		return "", &hinted{error: errNotAnswered, code: exitRefused}
	}
	return cache.Secret(strings.TrimSpace(line)), nil
}

func seedInImage(file string) (cache.Secret, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	otpauth, err := readQR(f)
	if err != nil {
		return "", fmt.Errorf(textImage, printable(file), err)
	}
	return otpauth, nil
}

func (a *app) printCode(ctx context.Context, method string) error {
	code, left, err := seeds().Code(ctx, method, time.Now())
	if errors.Is(err, cache.ErrNotFound) {
		return seedNone(method)
	}
	if err != nil {
		return ringFailure(err, "")
	}
	if _, err := io.WriteString(a.out, code.Reveal()+"\n"); err != nil {
		return err
	}
	if _, ok := a.terminal(); ok {
		a.notify(textSeedLeft, int((left+time.Second-1)/time.Second))
	}
	return nil
}

func (a *app) removeSeed(ctx context.Context, method string) error {
	all := seeds()
	_, err := all.Get(ctx, method)
	if err != nil && !errors.Is(err, cache.ErrNotFound) {
		return ringFailure(err, "")
	}
	// Also where none was found: an item that cannot be read goes as well.
	if gone := all.Remove(ctx, method); gone != nil {
		return ringFailure(gone, "")
	}
	if err != nil {
		return seedNone(method)
	}
	a.say(textSeedRemoved, method)
	return nil
}

package secrets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unicode"

	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/vaultcli"
	"github.com/vault-stepup/stepup/config/paths"
)

func (h *tokenHelper) enable(ctx context.Context, f vaultcli.CLI) error {
	link, err := h.linkPath(f)
	if err != nil {
		return err
	}
	now, err := f.ReadConfig(h.Console)
	if err != nil {
		return err
	}
	if err := now.Ours(); err != nil {
		return err
	}
	if err := linkHelper(link); err != nil {
		return err
	}
	h.warnKeyring(ctx)
	if now.Helper == link {
		h.Say("%s has the line already", cli.Printable(now.File))
		return nil
	}
	line := "token_helper = " + strconv.Quote(link)
	if err := writeHelperFile(now.File, now.With(line)); err != nil {
		return err
	}
	h.Say("wrote token_helper into %s", cli.Printable(now.File))
	h.Hint("log in again, so that the token is in the keyring: `" + f.Name + " login`")
	h.Notify("stepup: sops, vals, Ansible, hvac, consul-template and gomplate do not ask a token helper, they read VAULT_TOKEN and ~/.vault-token only")
	if vaultcli.HasTokenFile(h.Env) {
		h.Notify("stepup: the token in ~/.vault-token stays there: these programs go on with it, the CLI does not")
	}
	h.Hint("`stepup exec --token -- COMMAND` gives the kept token to such a program")
	return nil
}

// warnKeyring says in time that the CLI will fail for want of a keyring. It is no
// reason to refuse: the line may be written in an SSH session for the desktop.
func (h *tokenHelper) warnKeyring(ctx context.Context) {
	err := keyring.Check(ctx, cli.Keyring())
	if unusable := (*keyring.Error)(nil); errors.As(err, &unusable) {
		h.Notify("stepup: the CLI will fail where the keyring cannot be used, and now it cannot: %s", unusable.Why)
	}
}

func (h *tokenHelper) disable(_ context.Context, f vaultcli.CLI) error {
	now, err := f.ReadConfig(h.Console)
	if err != nil {
		return err
	}
	if !now.Mine() {
		h.Say("%s has no line of ours", cli.Printable(now.File))
		return nil
	}
	// The link stays: what else names it would fail with every command.
	if err := writeHelperFile(now.File, now.With("")); err != nil {
		return err
	}
	h.Say("took token_helper out of %s", cli.Printable(now.File))
	return nil
}

// linkPath is where the link to stepup is made.
func (h *tokenHelper) linkPath(f vaultcli.CLI) (string, error) {
	// The user's folder, whatever configuration this one command was given.
	standard := paths.DefaultPath(func(name string) string {
		if name == "STEPUP_CONFIG" {
			return ""
		}
		return h.Env(name)
	})
	if standard == "" {
		return "", cli.ErrNoConfigFolder
	}
	link := filepath.Join(filepath.Dir(standard), f.Link)
	if runtime.GOOS == "windows" {
		link += ".exe"
	}
	// "${" begins an interpolation in that language, and a line break ends the line.
	if strings.ContainsFunc(link, unicode.IsControl) || strings.Contains(link, "${") {
		return "", errors.New("the path of the link has characters that the file cannot hold")
	}
	return link, nil
}

// linkHelper makes link lead to this program.
func linkHelper(link string) error {
	if info, err := os.Lstat(link); err == nil && info.Mode()&fs.ModeSymlink == 0 && runtime.GOOS != "windows" {
		return &cli.Error{Err: fmt.Errorf("%s is there and is no link", cli.Printable(link)), Hint: "move it away and try again"}
	}
	self, err := cli.ProgramPath()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
		return err
	}
	fresh := link + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if runtime.GOOS == "windows" {
		err = os.Link(self, fresh) // a symbolic link needs a privilege there
	} else {
		err = os.Symlink(self, fresh)
	}
	if err != nil {
		return err
	}
	return os.Rename(fresh, link) // at no time is there none: the CLI may be looking
}

// writeHelperFile replaces the file, or removes it when there is nothing left to say.
func writeHelperFile(file, text string) error {
	if strings.TrimSpace(text) == "" {
		return os.Remove(file)
	}
	return cli.ReplaceFile(file, text, 0o600)
}

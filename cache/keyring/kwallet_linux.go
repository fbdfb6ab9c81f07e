package keyring

import (
	"bufio"
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/vault-stepup/stepup/messagebus"
)

// openWallet opens a collection that says it is locked, if it is a wallet of KWallet that
// the person has opened: its secret service believes it locked until some program has
// done Unlock and Prompt, which shows no window then. Its error is an [*Error].
func (c *collection) openWallet(ctx context.Context) error {
	locked := &Error{Locked, whyLocked}
	label, err := c.bus.Property(ctx, c.object, secretCollection+".Label")
	wallet, ok := label.(string)
	if err != nil || !ok || !c.walletIsOpen(ctx, wallet) {
		return locked
	}
	if walletAsks(os.Getenv) {
		return &Error{Locked, whyWalletAsks}
	}
	if err := c.unlock(ctx); err != nil {
		return AsError(err)
	}
	if still, err := c.locked(ctx, c.object, secretCollection); err != nil || still {
		return locked // it was closed meanwhile
	}
	return nil
}

// walletIsOpen asks the program that is the secret service by its other interface.
func (c *collection) walletIsOpen(ctx context.Context, wallet string) bool {
	if c.bus.Follow(ctx, secretsName) != nil {
		return false
	}
	for _, daemon := range []string{"kwalletd6", "kwalletd5"} {
		name := "org.kde." + daemon
		if c.bus.Follow(ctx, name) != nil || c.bus.Owners[name] != c.bus.Owners[secretsName] {
			continue // another program's word about its own wallets
		}
		var open bool
		object := messagebus.Object{Of: c.bus.Owners[name], Path: messagebus.Path("/modules/" + daemon)}
		err := messagebus.Result(c.bus.Call(ctx, object, "org.kde.KWallet.isOpen", wallet), &open)
		return err == nil && open
	}
	return false
}

// walletAsks reports whether KWallet shows a window before a program may use a wallet
// that is open ("Prompt when an application accesses a wallet").
func walletAsks(getenv func(string) string) bool {
	folders := append([]string{cmp.Or(getenv("XDG_CONFIG_HOME"), filepath.Join(getenv("HOME"), ".config"))},
		filepath.SplitList(cmp.Or(getenv("XDG_CONFIG_DIRS"), "/etc/xdg"))...)
	for _, folder := range folders {
		if asks, said := promptOnOpen(filepath.Join(folder, "kwalletrc")); said {
			return asks
		}
	}
	return false
}

// promptOnOpen reads a setting of a file, and reports whether it has the setting.
func promptOnOpen(file string) (asks, said bool) {
	f, err := os.Open(file)
	if err != nil {
		return false, false
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), "=")
		key, _, _ = strings.Cut(key, "[$") // KConfig's options
		if strings.TrimSpace(key) == "Prompt on Open" {
			asks, said = !strings.EqualFold(strings.TrimSpace(value), "false"), true
		}
	}
	return asks, said
}

// unlock does Unlock and Prompt, and waits for the end of that.
func (c *collection) unlock(ctx context.Context) error {
	var done []messagebus.Path
	var prompt messagebus.Path
	unlocking := c.bus.Call(ctx, root(), secretService+".Unlock", []messagebus.Path{c.object.Path})
	if err := messagebus.Result(unlocking, &done, &prompt); err != nil || prompt == "/" {
		return err
	}
	match := messagebus.Match{Sender: secretsName, Interface: secretPrompt, Member: "Completed", Path: prompt}
	if err := c.bus.Subscribe(ctx, match); err != nil {
		return err
	}
	if err := c.bus.Call(ctx, messagebus.Object{Of: secretsName, Path: prompt}, secretPrompt+".Prompt", "").Err; err != nil {
		return err
	}
	for {
		select {
		case signal, ok := <-c.bus.Signals():
			if !ok {
				return &Error{Failed, "the session bus has ended"}
			}
			if c.bus.Owners.From(secretsName, signal) && signal.Path == prompt && signal.Name == secretPrompt+".Completed" {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

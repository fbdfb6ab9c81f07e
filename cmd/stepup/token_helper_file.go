package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"unicode"

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/config"
)

// helperLine is the one line that the CLIs' configuration may have (api/cliconfig
// knows no other key), as people and we write it.
var helperLine = regexp.MustCompile(`^\s*"?token_helper"?\s*=\s*("(?:[^"\\]|\\.)*")\s*$`)

func (a *app) helperEnable(ctx context.Context, f flavour) error {
	file, err := a.helperFile(f)
	if err != nil {
		return err
	}
	link, err := a.helperLink(f)
	if err != nil {
		return err
	}
	now, err := readHelperFile(file)
	if err != nil {
		return err
	}
	if err := now.ours(file); err != nil {
		return err
	}
	if err := linkHelper(link); err != nil {
		return err
	}
	a.warnKeyring(ctx)
	if now.helper == link {
		a.say(textHelperAlready, printable(file))
		return nil
	}
	line := "token_helper = " + strconv.Quote(link)
	if err := writeHelperFile(file, now.with(line)); err != nil {
		return err
	}
	a.say(textHelperEnabled, printable(file))
	a.hint(hintHelperLogin)
	return nil
}

// warnKeyring says in time that the CLI will fail for want of a keyring. It is no
// reason to refuse: the line may be written in an SSH session for the desktop.
func (a *app) warnKeyring(ctx context.Context) {
	_, err := logins().Get(ctx, defaultServer)
	if ring := (*cache.RingError)(nil); errors.As(err, &ring) {
		a.notify(textHelperNoKeyring, ring.Why)
	}
}

func (a *app) helperDisable(_ context.Context, f flavour) error {
	file, err := a.helperFile(f)
	if err != nil {
		return err
	}
	now, err := readHelperFile(file)
	if err != nil {
		return err
	}
	if !now.mine() {
		a.say(textHelperNone, printable(file))
		return nil
	}
	// The link stays: what else names it would fail with every command.
	if err := writeHelperFile(file, now.with("")); err != nil {
		return err
	}
	a.say(textHelperDisabled, printable(file))
	return nil
}

// helperFile is the CLI's configuration file. A link (of those who keep their
// dot files elsewhere) is followed, so that the file is changed and not the link.
func (a *app) helperFile(f flavour) (string, error) {
	_, file := a.first(f.fileEnv)
	if file == "" {
		file = "~/" + f.file
	}
	if file == "~" || strings.HasPrefix(file, "~/") {
		home := a.env("HOME")
		if home == "" {
			var err error
			if home, err = os.UserHomeDir(); err != nil {
				return "", errHelperNoFolder
			}
		}
		file = filepath.Join(home, file[1:])
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(file); err == nil {
		return real, nil
	}
	return file, nil
}

// helperLink is where the link to stepup is made.
func (a *app) helperLink(f flavour) (string, error) {
	// The user's folder, whatever configuration this one command was given.
	standard := config.DefaultPath(func(name string) string {
		if name == "STEPUP_CONFIG" {
			return ""
		}
		return a.env(name)
	})
	if standard == "" {
		return "", errNoConfigFolder
	}
	link := filepath.Join(filepath.Dir(standard), f.link)
	if runtime.GOOS == "windows" {
		link += ".exe"
	}
	// "${" begins an interpolation in that language, and a line break ends the line.
	if strings.ContainsFunc(link, unicode.IsControl) || strings.Contains(link, "${") {
		return "", errHelperName
	}
	return link, nil
}

// linkHelper makes link lead to this program.
func linkHelper(link string) error {
	if info, err := os.Lstat(link); err == nil && info.Mode()&fs.ModeSymlink == 0 && runtime.GOOS != "windows" {
		return &hinted{error: fmt.Errorf(textHelperTaken, printable(link)), hint: hintHelperTaken}
	}
	self, err := programPath()
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

// programPath is a path of this program that stays when it is upgraded: package
// managers replace the folder that os.Executable finds, and keep the name that
// people call.
func programPath() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	called, err := exec.LookPath(os.Args[0])
	if err != nil {
		return self, nil
	}
	if called, err = filepath.Abs(called); err != nil || strings.HasPrefix(filepath.Base(called), helperName) {
		return self, nil
	}
	ours, err := os.Stat(self)
	if err != nil {
		return "", err
	}
	if found, err := os.Stat(called); err != nil || !os.SameFile(ours, found) {
		return self, nil
	}
	return called, nil
}

// A helperConfig is the text of the CLI's configuration.
type helperConfig struct {
	lines  []string
	at     int    // which of them is the token_helper line; -1 when there is none
	helper string // what it names
	other  bool   // there is something that we do not understand
}

func readHelperFile(file string) (helperConfig, error) {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return helperConfig{}, err
	}
	return parseHelperFile(string(text)), nil
}

func parseHelperFile(text string) helperConfig {
	c := helperConfig{at: -1}
	for line := range strings.Lines(text) {
		c.lines = append(c.lines, strings.TrimRight(line, "\r\n"))
	}
	for i, line := range c.lines {
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, "//") {
			continue
		}
		match := helperLine.FindStringSubmatch(line)
		if match == nil || c.at >= 0 {
			c.other = true
			continue
		}
		helper, err := strconv.Unquote(match[1])
		if err != nil {
			c.other = true
			continue
		}
		c.at, c.helper = i, helper
	}
	return c
}

// mine reports whether the line names us, wherever the link is or was.
func (c helperConfig) mine() bool {
	name := strings.TrimSuffix(filepath.Base(c.helper), ".exe")
	return c.at >= 0 && (name == helperName || name == helperNameBao)
}

// ours returns nil when nothing in the file is somebody else's.
func (c helperConfig) ours(file string) error {
	switch {
	case c.at >= 0 && !c.mine():
		return &hinted{error: fmt.Errorf(textHelperForeign, printable(file), printable(c.helper)), hint: hintHelperForeign}
	case c.other:
		return &hinted{error: fmt.Errorf(textHelperOther, printable(file)), hint: hintHelperOther}
	}
	return nil
}

// with is the file with line in the place of the token_helper line, or without
// that when line is "".
func (c helperConfig) with(line string) string {
	var b strings.Builder
	put := func(line string) { b.WriteString(line + "\n") }
	for i, old := range c.lines {
		if i != c.at {
			put(old)
		} else if line != "" {
			put(line)
		}
	}
	if c.at < 0 && line != "" {
		put(line)
	}
	return b.String()
}

// writeHelperFile replaces the file, or removes it when there is nothing left to
// say. The CLI finds the old text or the new one, never half of it.
func writeHelperFile(file, text string) error {
	if len(bytes.TrimSpace([]byte(text))) == 0 {
		return os.Remove(file)
	}
	fresh, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = fresh.WriteString(text)
	if err = errors.Join(err, fresh.Sync(), fresh.Close()); err == nil {
		err = os.Rename(fresh.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(fresh.Name()))
	}
	return nil
}

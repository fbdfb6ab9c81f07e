package vaultcli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// helperLine is the one line that the configuration may have (api/cliconfig knows no
// other key), as people and stepup write it.
var helperLine = regexp.MustCompile(`^\s*"?token_helper"?\s*=\s*("(?:[^"\\]|\\.)*")\s*$`)

// A Config is the text of a CLI's configuration.
type Config struct {
	File   string // its path
	lines  []string
	At     int    // which of them is the token_helper line; -1 when there is none
	Helper string // the program that the line names
	other  bool   // there is a line that stepup does not understand
}

// ReadConfig reads the configuration of the program; a file that is not there is empty.
func (f CLI) ReadConfig(c *cli.Console) (Config, error) {
	file, err := f.configFile(c)
	if err != nil {
		return Config{}, err
	}
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Config{}, err
	}
	read := parseConfig(string(text))
	read.File = file
	return read, nil
}

func parseConfig(text string) Config {
	c := Config{At: -1}
	for line := range strings.Lines(text) {
		c.lines = append(c.lines, strings.TrimRight(line, "\r\n"))
	}
	for i, line := range c.lines {
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, "//") {
			continue
		}
		match := helperLine.FindStringSubmatch(line)
		if match == nil || c.At >= 0 {
			c.other = true
			continue
		}
		helper, err := strconv.Unquote(match[1])
		if err != nil {
			c.other = true
			continue
		}
		c.At, c.Helper = i, helper
	}
	return c
}

// Mine reports whether the line names stepup, wherever the link is or was.
func (c Config) Mine() bool {
	name := strings.TrimSuffix(filepath.Base(c.Helper), ".exe")
	return c.At >= 0 && (name == cli.HelperName || name == cli.HelperNameBao)
}

// Ours returns nil when everything in the file is stepup's.
func (c Config) Ours() error {
	switch {
	case c.At >= 0 && !c.Mine():
		return &cli.Error{Err: fmt.Errorf("%s names another token helper: %s", cli.Printable(c.File), cli.Printable(c.Helper)), Hint: "take that line out first; stepup does not"}
	case c.other:
		return &cli.Error{
			Err:  fmt.Errorf("%s has something else than a token_helper line in it", cli.Printable(c.File)),
			Hint: "Ansible Vault keeps a password in a file of that name, which the Vault CLI cannot read: set VAULT_CONFIG_PATH to another file",
		}
	}
	return nil
}

// With is the file with line in the place of the token_helper line, or without
// that when line is "".
func (c Config) With(line string) string {
	var b strings.Builder
	put := func(line string) { b.WriteString(line + "\n") }
	for i, old := range c.lines {
		if i != c.At {
			put(old)
		} else if line != "" {
			put(line)
		}
	}
	if c.At < 0 && line != "" {
		put(line)
	}
	return b.String()
}

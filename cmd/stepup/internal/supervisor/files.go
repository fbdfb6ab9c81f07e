package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/packaging"
)

// A fileChange is what installing does to one file of the service.
type fileChange struct {
	path   string
	text   string // "" removes it
	exists bool
	edited bool     // by a person, or made by something else
	diff   []string // lines that go, with "- ", and that come, with "+ "
}

func (c fileChange) needed() bool { return !c.exists || c.edited || len(c.diff) > 0 || c.text == "" }

// compareFile holds a file against what it should be.
func compareFile(dir string, f packaging.File) (fileChange, error) {
	c := fileChange{path: filepath.Join(dir, f.Name)}
	if f.Text != "" {
		c.text = f.Sealed()
	}
	old, err := readServiceFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	c.exists = true
	if errors.Is(err, errNoFile) { // a link, perhaps into a folder of dotfiles, or to /dev/null
		c.edited = true
		return c, nil
	}
	if err != nil {
		return c, err
	}
	body, intact := packaging.Unseal(old)
	c.edited = !intact
	c.diff = diffLines(body, f.Text)
	return c, nil
}

// readServiceFile reads a regular file of a sane size.
func readServiceFile(path string) (string, error) {
	const limit = 1 << 20
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return "", errNoFile
	}
	text, err := os.ReadFile(path)
	return string(text), err
}

// diffLines are the lines that one text has and the other has not. It knows
// nothing of their order, which does not matter here.
func diffLines(from, to string) []string {
	before, after := strings.Split(from, "\n"), strings.Split(to, "\n")
	var diff []string
	for _, side := range []struct {
		mark        string
		lines, rest []string
	}{{"- ", before, after}, {"+ ", after, before}} {
		for _, line := range side.lines {
			if !slices.Contains(side.rest, line) && strings.TrimSpace(line) != "" {
				diff = append(diff, side.mark+cli.Printable(strings.TrimSpace(line)))
			}
		}
	}
	return diff
}

// refuseEdited protects what a person wrote.
func refuseEdited(changes []fileChange, force bool) error {
	for _, c := range changes {
		if c.exists && c.edited && !force {
			return &cli.Error{
				Err:  fmt.Errorf("%s was not written by this command, or was edited since", cli.Printable(c.path)),
				Hint: "move your changes into a drop-in (`systemctl --user edit stepup.service`), or say --force",
			}
		}
	}
	return nil
}

// apply makes the change. What a person wrote stays beside it, under another name.
func (c fileChange) apply() error {
	if c.exists && c.edited {
		if err := os.Rename(c.path, c.path+".saved"); err != nil {
			return err
		}
	}
	if c.text == "" {
		if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(c.path), 0o755); err != nil {
		return err
	}
	return cli.ReplaceFile(c.path, c.text, 0o644)
}

// tellChange says what became of a file.
func tellChange(to *cli.Console, c fileChange) {
	path := cli.Printable(c.path)
	if c.exists && c.edited {
		to.Say("kept what was there as %s", path+".saved")
	}
	switch {
	case c.text == "":
		to.Say("removed %s", path)
	case !c.exists, c.edited:
		to.Say("wrote %s", path)
	case len(c.diff) == 0:
		to.Say("unchanged %s", path)
	default:
		to.Say("updated %s", path)
		for _, line := range c.diff {
			to.Say("  %s", line)
		}
	}
}

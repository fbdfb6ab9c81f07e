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

// compareFile holds a file against what it should be. What a person wrote is an error,
// unless force is set.
func compareFile(dir string, f packaging.File, force bool) (fileChange, error) {
	c := fileChange{path: filepath.Join(dir, f.Name)}
	if f.Text != "" {
		c.text = f.Sealed()
	}
	old, intact, err := readSealed(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil && !errors.Is(err, errNoFile) {
		return c, err
	}
	c.exists, c.edited = true, !intact // or a link, perhaps into a folder of dotfiles, or to /dev/null
	if c.edited && !force {
		return c, &cli.Error{
			Err:  fmt.Errorf("%s was not written by this command, or was edited since", cli.Printable(c.path)),
			Hint: "move your changes into a drop-in (`systemctl --user edit stepup.service`), or say --force",
		}
	}
	if err == nil {
		c.diff = diffLines(old, f.Text)
	}
	return c, nil
}

// readSealed reads a file of the service, and reports whether it is as it was written.
// A file of a sane size is regular; anything else is errNoFile.
func readSealed(path string) (body string, intact bool, err error) {
	const limit = 1 << 20
	info, err := os.Lstat(path)
	if err != nil {
		return "", false, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return "", false, errNoFile
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", false, err
	}
	body, intact = packaging.Unseal(string(text))
	return body, intact, nil
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

// apply makes the change where it is needed, and says what became of the file. What a
// person wrote stays beside it, under another name.
func (c fileChange) apply(to *cli.Console) error {
	path := cli.Printable(c.path)
	if c.edited {
		if err := os.Rename(c.path, c.path+".saved"); err != nil {
			return err
		}
		to.Say("kept what was there as %s", path+".saved")
	}
	if c.text == "" {
		if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		to.Say("removed %s", path)
		return nil
	}
	if !c.needed() {
		to.Say("unchanged %s", path)
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(c.path), 0o755); err != nil {
		return err
	}
	if err := cli.ReplaceFile(c.path, c.text, 0o644); err != nil {
		return err
	}
	if !c.exists || c.edited {
		to.Say("wrote %s", path)
		return nil
	}
	to.Say("updated %s", path)
	for _, line := range c.diff {
		to.Say("  %s", line)
	}
	return nil
}

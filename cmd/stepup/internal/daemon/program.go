package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// A program is the file that this process was started from.
type program struct {
	path string      // under which a new version would be found
	info fs.FileInfo // at the start; nil where it is not known
}

func newProgram() program {
	path, err := cli.ProgramPath()
	if err != nil {
		return program{}
	}
	info, err := os.Stat(path)
	if err != nil {
		return program{}
	}
	return program{path, info}
}

// notes say that an upgrade, or a removal, has passed this process by.
func (p program) notes() []string {
	if p.info == nil {
		return nil
	}
	now, err := os.Stat(p.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []string{fmt.Sprintf("the program of this agent, %s, was removed: the agent goes on until it is stopped", p.path)}
	case err == nil && !os.SameFile(p.info, now):
		return []string{fmt.Sprintf("the program of this agent, %s, was replaced: restart to run the new version (%s)", p.path, cli.HintRestart)}
	}
	return nil
}

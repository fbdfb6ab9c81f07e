package exec

import (
	"context"
	"os"
	"time"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

const (
	settleTime = 5 * time.Second // after which an agent has noticed that a file was saved
	againTime  = 50 * time.Millisecond
)

// awaitReload waits while the agent has not read yet what was saved a moment ago: a rule that
// was just written would be none. It says why an agent does not take what it has read.
func awaitReload(ctx context.Context, c *cli.Console, status func(context.Context) (control.Status, error)) {
	for {
		st, err := status(ctx)
		if err != nil {
			return // what needs the agent says it
		}
		read, problem := st.Started, ""
		if st.Reload != nil {
			read, problem = st.Reload.Time, st.Reload.Error
		}
		saved := lastSaved(st.ConfigFiles)
		// A time far in the future is that of another machine's clock: no reload comes after it.
		if !saved.After(read) || time.Since(saved).Abs() > settleTime {
			if problem != "" {
				c.Notify("warning: the configuration has an error, and the agent goes on with the one from before: %s", cli.Printable(problem))
			}
			return
		}
		select {
		case <-time.After(againTime):
		case <-ctx.Done():
			return
		}
	}
}

// lastSaved is when one of the files was written last.
func lastSaved(files []string) (last time.Time) {
	for _, name := range files {
		if info, err := os.Stat(name); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last
}

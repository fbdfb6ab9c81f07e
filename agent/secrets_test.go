//go:build unix

package agent

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A command may leave a program behind that keeps its output open, an agent of its
// own for one: what it printed counts, and that program is not waited for. Else the
// step-up would never end, nor a lock, nor the agent.
func TestRunLeavesPrograms(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ script, want, fault string }{
		"its code counts":    {"sleep 600 & echo $! >$0; echo 123456", "123456", ""},
		"it failed":          {"sleep 600 & echo $! >$0; echo 123456; exit 3", "", "exit status 3"},
		"it prints too much": {"yes | head -c 100000", "y", ""},
		"it prints nothing":  {"true", "", "printed nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			left := filepath.Join(t.TempDir(), "left") // its process number
			t.Cleanup(func() { kill(left) })
			type outcome struct {
				text string
				err  error
			}
			done := make(chan outcome, 1)
			go func() {
				secret, err := (&secrets{}).Run(t.Context(), []string{"sh", "-c", tt.script, left}, func(string) {})
				done <- outcome{secret.Reveal(), err}
			}()
			select {
			case got := <-done:
				if got.text != tt.want || (got.err == nil) != (tt.fault == "") || got.err != nil && !strings.Contains(got.err.Error(), tt.fault) {
					t.Errorf("%q, %v", got.text, got.err)
				}
				if errors.Is(got.err, exec.ErrWaitDelay) {
					t.Error(got.err)
				}
			case <-time.After(30 * time.Second):
				t.Error("it waits for the program that was left behind")
			}
		})
	}
}

// What a program says on its standard error reaches the person, and no error.
func TestRunSays(t *testing.T) {
	t.Parallel()
	said := make(chan string, 10)
	_, err := (&secrets{}).Run(t.Context(), []string{"sh", "-c", "echo Touch your key... >&2; exit 3"}, func(line string) { said <- line })
	if got := <-said; got != "Touch your key..." || err == nil || strings.Contains(err.Error(), "Touch") {
		t.Errorf("%q, %v", got, err)
	}
}

func kill(file string) {
	text, _ := os.ReadFile(file) // there may be none
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

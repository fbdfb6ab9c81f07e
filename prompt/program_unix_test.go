//go:build unix

package prompt_test

import (
	"os"
	"syscall"
	"testing"
)

// writeProgram makes a program. No process may be started meanwhile: until it is
// another program, it has our open file too, and what somebody may write to cannot
// be run (ETXTBSY).
func writeProgram(t *testing.T, path, text string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

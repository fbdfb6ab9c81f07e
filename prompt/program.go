package prompt

import (
	"bytes"
	"os/exec"
	"strings"
	"time"
)

// KillDelay is how long a program may take to end after it was asked to, and its
// children to let go of its output after it has ended.
const KillDelay = 500 * time.Millisecond

// RunProgram runs cmd in a process group of its own (see [OwnGroup]) and returns the
// first limit bytes of its standard output less one line end. The rest is read and
// dropped, so that a program that talks on is not stopped in the middle. The error is
// that of cmd.Run. The caller has set no Stdout and no WaitDelay.
func RunProgram(cmd *exec.Cmd, limit int) (output string, err error) {
	kept := limitedBuffer{room: limit}
	cmd.Stdout = &kept
	cmd.WaitDelay = KillDelay
	release := OwnGroup(cmd)
	err = cmd.Run()
	release()
	return strings.TrimSuffix(strings.TrimSuffix(kept.kept.String(), "\n"), "\r"), err
}

// limitedBuffer keeps the first bytes and swallows the rest.
type limitedBuffer struct {
	kept bytes.Buffer // not embedded: its ReadFrom would take everything
	room int
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	n, err := b.kept.Write(p[:min(len(p), b.room)])
	b.room -= n
	return len(p), err
}

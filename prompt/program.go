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
// first limit bytes of its standard output less one line end. The error is that of
// cmd.Run. The caller has set no Stdout and no WaitDelay.
func RunProgram(cmd *exec.Cmd, limit int) (output string, err error) {
	kept := LimitedText{Limit: limit}
	cmd.Stdout = &kept
	cmd.WaitDelay = KillDelay
	release := OwnGroup(cmd)
	err = cmd.Run()
	release()
	return strings.TrimSuffix(strings.TrimSuffix(kept.String(), "\n"), "\r"), err
}

// A LimitedText keeps the beginning of what a program prints. The rest is swallowed, so
// that the program does not stop in the middle.
type LimitedText struct {
	Limit int             // in bytes
	text  strings.Builder // not embedded: its methods would take everything
}

// Write implements io.Writer. It takes all of p and never fails.
func (l *LimitedText) Write(p []byte) (int, error) {
	l.text.Write(p[:min(len(p), max(0, l.Limit-l.text.Len()))])
	return len(p), nil
}

// String returns what was kept.
func (l *LimitedText) String() string { return l.text.String() }

// maxProgramLine bounds a line of a LineWriter, in bytes.
const maxProgramLine = 512

// A LineWriter tells the newest line of what a program prints, also before it is complete: a
// question for a PIN has no line end.
type LineWriter struct {
	Said func(line string) // called for each line that is not blank, from the writing goroutine
	line []byte            // the one that is not complete yet
}

// Write implements io.Writer. It takes all of p and never fails.
func (l *LineWriter) Write(p []byte) (int, error) {
	newest := ""
	for rest := p; len(rest) > 0; {
		i := bytes.IndexAny(rest, "\r\n")
		piece := rest
		if i >= 0 {
			piece = rest[:i]
		}
		l.line = append(l.line, piece[:min(len(piece), maxProgramLine-len(l.line))]...)
		if line := strings.TrimSpace(strings.ToValidUTF8(string(l.line), "")); line != "" { // half a character is none
			newest = line
		}
		if i < 0 {
			break
		}
		l.line, rest = l.line[:0], rest[i+1:]
	}
	if newest != "" {
		l.Said(newest)
	}
	return len(p), nil
}

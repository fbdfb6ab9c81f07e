package factor

import (
	"context"
	"path/filepath"
	"regexp"
	"time"

	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// maxRewordings is how often a question is put anew because the program has said something
// else meanwhile: what is typed by then is lost.
const maxRewordings = 3

// A Program is one of the user's that prints a code or a password by itself. It may wait for
// a finger on a key, or for a PIN.
type Program struct {
	Command []string
	Wants   string // what it is asked for, in words: "a code of corp_totp"
	// Run returns what the program prints. It calls said with each line of its standard error,
	// from another goroutine, and ends with ctx.
	Run func(ctx context.Context, said func(line string)) (secret.Secret, error)
}

func (p Program) name() string { return "`" + filepath.Base(p.Command[0]) + "`" }

// message is what the person reads while the program runs. A line of the program may be the
// trace of a script with the code in it.
func (p Program) message(line string) string {
	message := p.name() + " is asked for " + p.Wants + ": touch your key?"
	if line = withoutCodes(line); line != "" {
		message += " It says: " + line
	}
	return message
}

// withoutCodes takes out what may be a code, four digits or more.
func withoutCodes(line string) string {
	return digits.ReplaceAllLiteralString(line, "...")
}

var digits = regexp.MustCompile(`[0-9]{4,}`)

// A programRun is a program that runs. Its goroutine ends before stop returns.
type programRun struct {
	program Program
	cancel  context.CancelFunc
	done    chan struct{} // closed when what follows is set
	printed secret.Secret
	err     error
	lines   chan string // of one element: the newest line that is not shown yet
	line    string      // the newest one
}

func startProgram(ctx context.Context, p Program) *programRun {
	ctx, cancel := context.WithCancel(ctx)
	r := &programRun{program: p, cancel: cancel, done: make(chan struct{}), lines: make(chan string, 1)}
	go func() {
		defer close(r.done)
		r.printed, r.err = p.Run(ctx, r.said)
	}()
	return r
}

func (r *programRun) said(line string) {
	select {
	case <-r.lines: // it is old
	default:
	}
	r.lines <- line // there is room: no other goroutine puts one there
}

func (r *programRun) stop() {
	r.cancel()
	<-r.done
}

// watch takes the question back when the program has ended, or has another line.
func (r *programRun) watch(asking context.Context, withdraw context.CancelCauseFunc, reword bool) (watched chan struct{}) {
	watched = make(chan struct{})
	lines := r.lines
	if !reword {
		lines = nil
	}
	go func() {
		defer close(watched)
		select {
		case <-r.done:
			end := " gave it"
			if r.err != nil {
				end = " gave none"
			}
			withdraw(prompt.Decided{Message: r.program.name() + end})
		case r.line = <-lines:
			withdraw(prompt.Decided{Message: r.program.name() + " has said something"})
		case <-asking.Done():
		}
	}()
	return watched
}

// wait waits for the program alone: no question can be shown, or the person closed it,
// and still may touch the key.
func (r *programRun) wait(app context.Context, deadline time.Time) (secret.Secret, bool, error) {
	ctx, cancel := context.WithDeadline(app, deadline)
	defer cancel()
	select {
	case <-r.done:
		return r.result()
	case <-ctx.Done():
		return "", false, ctx.Err()
	}
}

func (r *programRun) result() (secret.Secret, bool, error) {
	if r.err == nil {
		return r.printed, false, nil
	}
	select {
	case r.line = <-r.lines:
	default:
	}
	return "", false, &ExitError{r.program, r.err, r.line}
}

// An ExitError is the failure of a program that was to print a code or a password.
type ExitError struct {
	Program Program
	Err     error
	line    string // of its standard error, the last one
}

func (e *ExitError) Error() string { return e.Err.Error() }

// Reason says it to the person, who is asked in its place. The line of the program is for
// them alone: no log has it.
func (e *ExitError) Reason() string {
	said := withoutCodes(e.line)
	if said == "" {
		said = e.Error()
	}
	return e.Program.name() + " did not give " + e.Program.Wants + " (" + said + "): type it"
}

func (e *ExitError) Unwrap() error { return e.Err }

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

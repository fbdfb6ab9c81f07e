package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// patience is how long a process may take until it answers.
const patience = 30 * time.Second

// A process was started by the benchmark and ends with it.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer // our own processes end with their input
	log   string    // file
}

// start starts a program with a home of its own. Its errors go into a file.
func (l *lab) start(name string, args ...string) (*process, *bufio.Reader, error) {
	l.started++
	dir := filepath.Join(l.dir, fmt.Sprintf("%d-%s", l.started, filepath.Base(name)))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, nil, err
	}
	p := &process{cmd: exec.Command(name, args...), log: filepath.Join(dir, "log")}
	p.cmd.Dir = dir
	p.cmd.Env = []string{"HOME=" + dir, "STEPUP_RUNTIME_DIR=" + filepath.Join(dir, "run"), "PATH=" + os.Getenv("PATH"),
		// Without a word about the session bus Vault starts one, and leaves it behind.
		"DBUS_SESSION_BUS_ADDRESS=disabled:"}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = log.Close() }()
	p.cmd.Stderr = log
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, nil, err
	}
	l.processes = append(l.processes, p)
	return p, bufio.NewReader(out), nil
}

// own starts this program in another part, and returns the words that it prints first.
func (l *lab) own(args ...string) (*process, []string, error) {
	p, out, err := l.start(l.self, args...)
	if err != nil {
		return nil, nil, err
	}
	line, err := out.ReadString('\n')
	if err != nil {
		return nil, nil, p.explain(err)
	}
	return p, strings.Fields(line), nil
}

// stop ends the process and waits for it.
func (p *process) stop() {
	if p.cmd.ProcessState != nil {
		return
	}
	_ = p.stdin.Close()
	_ = p.cmd.Process.Signal(os.Interrupt)
	timer := time.AfterFunc(5*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	_ = p.cmd.Wait()
}

// explain adds to err the end of what the process has written.
func (p *process) explain(err error) error {
	text, _ := os.ReadFile(p.log)
	return fmt.Errorf("%s: %w: %s", p.cmd.Path, err, text[max(0, len(text)-1000):])
}

func (p *process) file(name string) string {
	return fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, name)
}

// tasks adds up a number of each thread of the process.
func (p *process) tasks(file string, number *regexp.Regexp) (sum float64) {
	found, _ := filepath.Glob(p.file("task/*/" + file))
	for _, name := range found {
		sum += numberIn(name, number)
	}
	return sum
}

// cpu is the time that the process has used. It is that of /proc/PID/stat, but exact to
// more than the hundredth of a second.
func (p *process) cpu() time.Duration {
	return time.Duration(p.tasks("schedstat", regexp.MustCompile(`^(\d+)`)))
}

// wakeUps is how often a thread of the process has slept and gone on.
func (p *process) wakeUps() float64 {
	return p.tasks("status", regexp.MustCompile(`(?m)^voluntary_ctxt_switches:\s+(\d+)`))
}

// memory reads a line of /proc/PID/status, in KiB: VmRSS is now, VmHWM the peak.
func (p *process) memory(line string) float64 {
	return numberIn(p.file("status"), regexp.MustCompile(`(?m)^`+line+`:\s+(\d+)`))
}

// forgetPeak begins a new VmHWM.
func (p *process) forgetPeak() { _ = os.WriteFile(p.file("clear_refs"), []byte("5"), 0) }

// settle returns when the process has nothing left to do.
func (p *process) settle(ctx context.Context) error {
	const step = 200 * time.Millisecond
	for range patience / step {
		before := p.cpu()
		if err := sleep(ctx, step); err != nil {
			return err
		}
		if p.cpu()-before < step/50 {
			return nil
		}
	}
	return p.explain(errors.New("is never idle"))
}

// numberIn finds a number in a file. It is 0 where there is none.
func numberIn(file string, number *regexp.Regexp) float64 {
	text, _ := os.ReadFile(file)
	m := number.FindSubmatch(text)
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseFloat(string(m[1]), 64)
	return n
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

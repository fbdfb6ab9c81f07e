// Command testrun runs go test and says at its end what was skipped and why,
// which go test itself says only among everything else. Flags and packages are
// those of go test, but for three flags of its own that come first.
//
//	testrun [-dir DIR] [-each] [-forbid-skips] [go test flags] [packages]
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
)

func main() {
	flags := flag.NewFlagSet("testrun", flag.ContinueOnError)
	dir := flags.String("dir", ".", "run in this folder")
	each := flags.Bool("each", false, "print a line for each test, for suites that take minutes")
	forbid := flags.Bool("forbid-skips", false, "fail when a test is skipped")
	own, rest := split(os.Args[1:])
	if err := flags.Parse(own); err != nil {
		os.Exit(2)
	}
	rep := newReport(os.Stdout, *each)
	err := run(*dir, rest, rep)
	if err != nil {
		fmt.Fprintf(os.Stderr, "testrun: %v\n", err)
		os.Exit(1)
	}
	rep.print()
	if *forbid && len(rep.skipped) > 0 {
		fmt.Fprintf(os.Stdout, "FAIL: no test may be skipped here\n")
		os.Exit(1)
	}
	if !rep.ok {
		os.Exit(1)
	}
}

// split takes the flags of testrun from the front, so that go test's are not parsed here.
func split(args []string) (own, rest []string) {
	for len(args) > 0 {
		switch {
		case args[0] == "-dir" && len(args) > 1:
			own, args = append(own, args[0], args[1]), args[2:]
		case args[0] == "-each" || args[0] == "-forbid-skips":
			own, args = append(own, args[0]), args[1:]
		default:
			return own, args
		}
	}
	return own, nil
}

// run starts go test and reads its report to the end. A failed test is no
// error: the report is not ok.
func run(dir string, args []string, rep *report) error {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := read(out, rep)
	err = cmd.Wait()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		rep.ok, err = false, nil
	}
	return errors.Join(readErr, err)
}

// read takes one event a line, of any length: a test may print what it likes.
func read(r io.Reader, rep *report) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			rep.line(line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

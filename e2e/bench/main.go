// Bench measures the built stepup beside other proxies, and prints a table of ratios. It
// is run by "make bench" and needs Linux: its /proc says what a process uses.
//
// Everything is a process of its own: the upstream, a bare reverse proxy, stepup with
// several configurations, and nginx, haproxy and Vault Proxy where they are present. Only
// the load is in this one.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "upstream":
		return serveUpstream(args[1])
	case len(args) == 3 && args[0] == "bare":
		return serveBare(args[1], args[2])
	case len(args) == 2 && args[0] == "code":
		return printCode(args[1])
	}
	return measure(ctx, args)
}

// printCode is the passcode_command: it prints the code when the load gives it.
func printCode(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = io.Copy(os.Stdout, conn)
	return err
}

// A plan says how long to measure.
type plan struct {
	rounds    int
	round     time.Duration
	transfers int // of a gigabyte, in each direction
	idle      time.Duration
	streams   int
}

func quick() plan {
	return plan{rounds: 3, round: 700 * time.Millisecond, transfers: 2, idle: 20 * time.Second, streams: 2000}
}
func full() plan {
	return plan{rounds: 7, round: 2 * time.Second, transfers: 5, idle: time.Minute, streams: 10_000}
}

func measure(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	isFull := flags.Bool("full", false, "measure for a quarter of an hour instead of three minutes")
	only := flags.String("only", ".", "the `parts` to measure: idle, relay, token, prompt, tls, gigabyte, streams")
	stepup := flags.String("stepup", "", "measure this `program` instead of building one")
	against := flags.String("against", "../docs/benchmarks.md", "the committed `file` to compare with")
	out := flags.String("o", "", "write the report into this `file`, too, and the chart into images/benchmarks.svg beside it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	parts, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	r := &report{machine: machine(), plan: quick()}
	if *isFull {
		r.plan = full()
	}
	if _, err := os.Stat("/proc/self/schedstat"); err != nil {
		return errors.New("needs Linux: only its /proc says what a process uses")
	}
	l, err := newLab(ctx, *stepup)
	if err != nil {
		return err
	}
	defer l.Close()
	b := &bench{lab: l, report: r}
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"idle", b.idle}, {"prompt", b.prompt}, {"relay", b.relay}, {"token", b.token}, {"tls", b.tls}, {"gigabyte", b.gigabyte}, {"streams", b.streams},
	} {
		if !parts.MatchString(part.name) {
			continue
		}
		started := time.Now()
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		fmt.Fprintf(os.Stderr, "--- %s: %.0f s\n", part.name, time.Since(started).Seconds())
	}
	var text bytes.Buffer
	r.write(&text, committed(*against))
	if *out != "" {
		if err := os.WriteFile(*out, text.Bytes(), 0o644); err != nil {
			return err
		}
		if err := r.writeChart(filepath.Join(filepath.Dir(*out), "images", "benchmarks.svg")); err != nil {
			return err
		}
	}
	_, err = os.Stdout.Write(text.Bytes())
	return err
}

package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"
)

// prompt measures how long it takes from a request that Vault refuses until a terminal that
// is attached can show the question: the agent has asked Vault about the caller by then.
func (b *bench) prompt(ctx context.Context) error {
	s, err := b.agent(ctx, agent{name: "stepup", more: asked})
	if err != nil {
		return err
	}
	events, err := net.Dial("unix", filepath.Join(s.process.cmd.Dir, "run", "control.sock"))
	if err != nil {
		return err
	}
	defer func() { _ = events.Close() }()
	if _, err := fmt.Fprint(events, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return err
	}
	lines := bufio.NewReader(events)
	if _, err := readHead(lines); err != nil {
		return err
	}
	guarded := s.with("stepup", guardedPath)
	var took []float64
	for range 10 { // twelve questions without an answer would mute the rule
		// As people have it: the search for the processes of requests rests after each one.
		if err := sleep(ctx, 300*time.Millisecond); err != nil {
			return err
		}
		ms, err := guarded.untilPrompt(ctx, lines)
		if err != nil {
			return s.process.explain(err)
		}
		took = append(took, ms)
	}
	b.report.add("from the request to the question on an attached terminal", "ms", "0.4", took...)
	return nil
}

// untilPrompt sends a request, waits for its question, and takes the request back.
func (s side) untilPrompt(ctx context.Context, events *bufio.Reader) (ms float64, err error) {
	c, err := s.dial(4 << 10)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	started := time.Now()
	if _, err := c.Write(s.request("GET", 0)); err != nil {
		return 0, err
	}
	if err := awaitEvent(events, `"type":"prompt"`); err != nil {
		return 0, err
	}
	ms = time.Since(started).Seconds() * 1e3
	_ = c.Close()
	return ms, awaitEvent(events, `"type":"canceled"`)
}

// awaitEvent reads lines until one has text.
func awaitEvent(events *bufio.Reader, text string) error {
	for {
		line, err := events.ReadString('\n')
		if err != nil {
			return err
		}
		if strings.Contains(line, text) {
			return nil
		}
	}
}

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// A side is what the load is sent to.
type side struct {
	name    string
	addr    string
	path    string   // of the requests
	process *process // nil without a proxy
}

// with is the same side, asked for another path under another name.
func (s side) with(name, path string) side {
	s.name, s.path = name, path
	return s
}

// request is the head of a request, with a body of so many bytes to follow.
func (s side) request(method string, length int) []byte {
	return fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nX-Vault-Request: true\r\n"+
		"X-Vault-Token: %s\r\nAccept-Encoding: gzip\r\nContent-Length: %d\r\n\r\n", method, s.path, s.addr, callerToken, length)
}

// A client has one connection.
type client struct {
	net.Conn
	r *bufio.Reader
}

func (s side) dial(buffer int) (client, error) {
	conn, err := net.DialTimeout("tcp", s.addr, patience)
	if err != nil {
		return client{}, err
	}
	return client{conn, bufio.NewReaderSize(conn, buffer)}, nil
}

// dialMany opens so many connections; what it returns besides closes them.
func (s side) dialMany(n int) ([]client, func(), error) {
	var clients []client
	closeAll := func() {
		for _, c := range clients {
			_ = c.Close()
		}
	}
	for range n {
		c, err := s.dial(4 << 10)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		clients = append(clients, c)
	}
	return clients, closeAll, nil
}

// A figure is what one round has measured.
type figure struct {
	rate     float64 // requests per second
	cpu      float64 // microseconds of the proxy for each request
	p50, p99 float64 // milliseconds
}

// drive sends requests over so many connections for a while. Each sends its next one when
// it has its answer.
func (s side) drive(ctx context.Context, connections int, d time.Duration) (figure, error) {
	clients, closeAll, err := s.dialMany(connections)
	if err != nil {
		return figure{}, fmt.Errorf("%s: %w", s.name, err)
	}
	defer closeAll()
	took := make([][]time.Duration, connections)
	request, before, started := s.request("GET", 0), s.cpu(), time.Now()
	err = each(clients, func(i int, c client) error {
		for time.Since(started) < d && ctx.Err() == nil {
			at := time.Now()
			if _, err := c.Write(request); err != nil {
				return err
			}
			if _, err := readAnswer(c.r); err != nil {
				return err
			}
			took[i] = append(took[i], time.Since(at))
		}
		return ctx.Err()
	})
	if err != nil {
		return figure{}, fmt.Errorf("%s: %w", s.name, err)
	}
	elapsed, used := time.Since(started), s.cpu()-before
	all := slices.Concat(took...)
	slices.Sort(all)
	n := len(all)
	return figure{
		rate: float64(n) / elapsed.Seconds(),
		cpu:  float64(used.Nanoseconds()) / 1e3 / float64(n),
		p50:  all[n/2].Seconds() * 1e3, p99: all[n*99/100].Seconds() * 1e3,
	}, nil
}

func (s side) cpu() time.Duration {
	if s.process == nil {
		return 0
	}
	return s.process.cpu()
}

// each runs f for all clients at once and returns an error of one of them.
func each(clients []client, f func(int, client) error) error {
	var group sync.WaitGroup
	errs := make(chan error, len(clients))
	for i, c := range clients {
		group.Go(func() { errs <- f(i, c) })
	}
	group.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// transfer sends a gigabyte up, or gets one, and returns how many seconds it takes.
func (s side) transfer(ctx context.Context, up bool) (float64, error) {
	c, err := s.dial(64 << 10)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	request, body, want := s.request("GET", 0), 0, gigabyte
	if up {
		request, body, want = s.request("PUT", gigabyte), gigabyte, len(secretAnswer())
	}
	started := time.Now()
	if _, err := c.Write(request); err != nil {
		return 0, err
	}
	chunk := make([]byte, 64<<10)
	for ; body > 0; body -= len(chunk) {
		if _, err := c.Write(chunk); err != nil {
			return 0, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	n, err := readAnswer(c.r)
	if err == nil && n != want {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %d of %d bytes: %w", s.name, n, want, err)
	}
	return time.Since(started).Seconds(), nil
}

// streams opens so many streams, and returns the KiB of memory that the proxy holds for each.
func (s side) streams(ctx context.Context, n int) (float64, error) {
	before := s.process.memory("VmRSS")
	clients, closeAll, err := s.dialMany(n)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", s.name, err)
	}
	defer closeAll()
	request := s.request("GET", 0)
	// In turn: a crowd that begins at once would be measured with its queue.
	for _, c := range clients {
		if _, err := c.Write(request); err != nil {
			return 0, err
		}
		h, err := readHead(c.r)
		if err == nil {
			err = h.ok()
		}
		if err == nil {
			_, err = skipChunk(c.r)
		}
		if err != nil {
			return 0, fmt.Errorf("%s: stream: %w", s.name, err)
		}
	}
	if err := s.process.settle(ctx); err != nil {
		return 0, err
	}
	return (s.process.memory("VmRSS") - before) / float64(n), nil
}

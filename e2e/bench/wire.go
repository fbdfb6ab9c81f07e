package main

import (
	"bufio"
	"bytes"
	"errors"
	"strconv"
	"strings"
)

// A head is the head of a request or of an answer, as far as the load and the upstream
// need it. net/http would read it with more work, and the proxies share the cores.
type head struct {
	first   string // the first line
	token   string // X-Vault-Token
	length  int    // Content-Length
	chunked bool
}

// readHead reads up to the empty line.
func readHead(r *bufio.Reader) (h head, err error) {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return head{}, err
		}
		line = bytes.TrimRight(line, "\r\n")
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case h.first == "":
			h.first = string(line)
		case len(line) == 0:
			return h, nil
		case bytes.EqualFold(name, []byte("Content-Length")):
			h.length, err = strconv.Atoi(string(bytes.TrimSpace(value)))
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			h.chunked = true
		case bytes.EqualFold(name, []byte("X-Vault-Token")):
			h.token = string(bytes.TrimSpace(value))
		}
		if err != nil {
			return head{}, err
		}
	}
}

// ok is an error for every answer but 200.
func (h head) ok() error {
	if fields := strings.Fields(h.first); len(fields) < 2 || fields[1] != "200" {
		return errors.New("answer is " + h.first)
	}
	return nil
}

// skipBody reads the body of h and returns its length.
func (h head) skipBody(r *bufio.Reader) (total int, err error) {
	if !h.chunked {
		return r.Discard(h.length)
	}
	for {
		n, err := skipChunk(r)
		total += n
		if err != nil || n == 0 {
			return total, err
		}
	}
}

// skipChunk reads one chunk and returns its length; 0 is the end of the body.
func skipChunk(r *bufio.Reader) (int, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
	if err != nil {
		return 0, err
	}
	_, err = r.Discard(int(n) + len("\r\n"))
	return int(n), err
}

// readAnswer reads an answer and returns the length of its body.
func readAnswer(r *bufio.Reader) (int, error) {
	h, err := readHead(r)
	if err == nil {
		err = h.ok()
	}
	if err != nil {
		return 0, err
	}
	return h.skipBody(r)
}

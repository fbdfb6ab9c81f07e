package devvault

import (
	"bytes"
	"io"
	"net/http"
	"sync"
)

// Bounds of the record: the newest requests, and the start of their bodies.
const (
	maxRecords    = 4096
	maxRecordBody = 1 << 20
)

// Recorded is a request as it arrived, for tests of the requests that a client sends. It
// holds all secrets of the request.
type Recorded struct {
	Method  string
	RawPath string // the request target as sent, query included
	Host    string
	Header  http.Header
	Body    []byte // what the server read of it, up to 1 MiB
	Status  int
}

// Requests returns the requests that were answered so far, in the order of the answers, at
// most the newest 4096. It needs [Config.Record].
func (s *Server) Requests() []Recorded {
	s.records.Lock()
	defer s.records.Unlock()
	return append([]Recorded(nil), s.records.all...)
}

// ForgetRequests empties [Server.Requests].
func (s *Server) ForgetRequests() {
	s.records.Lock()
	defer s.records.Unlock()
	s.records.all = nil
}

type recorder struct {
	on bool // never changes
	sync.Mutex
	all []Recorded
}

// begin returns the writer and request to serve with, and a function to call after.
func (c *recorder) begin(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
	if !c.on {
		return w, r, func() {}
	}
	rec := Recorded{Method: r.Method, RawPath: r.RequestURI, Host: r.Host, Header: r.Header.Clone(), Status: http.StatusOK}
	body := &limited{}
	if r.Body != nil {
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(r.Body, body), r.Body}
	}
	return &statusWriter{ResponseWriter: w, status: &rec.Status}, r, func() {
		rec.Body = body.Bytes()
		c.Lock()
		defer c.Unlock()
		if len(c.all) == maxRecords {
			c.all = c.all[1:]
		}
		c.all = append(c.all, rec)
	}
}

// limited keeps the start of what is written to it.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.Buffer.Write(p[:min(len(p), maxRecordBody-l.Len())])
	return len(p), nil
}

type statusWriter struct {
	http.ResponseWriter
	status *int
}

func (w *statusWriter) WriteHeader(status int) {
	*w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController flush.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

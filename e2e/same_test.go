package e2e

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/google/go-cmp/cmp"
)

// volatile are the fields that differ between two answers to the same request.
var volatile = []string{
	"request_id", "server_time_utc", "ttl", "creation_time", "accessor", "token", "wrapped_accessor",
	"last_update_time", "clock_skew_ms", "echo_duration_ms", "expire_time",
}

// different compares two answers to the same request: status, headers in full
// but for the time of day, and the body byte for byte, or without its volatile
// fields when it is JSON. "" means the same.
func different(direct, through got) string {
	sameLength := len(direct.body) == len(through.body)
	return cmp.Diff(direct.steady(sameLength), through.steady(sameLength))
}

// A steadyAnswer is an answer without what differs from time to time.
type steadyAnswer struct {
	Status int
	Header http.Header
	Body   any
}

func (g got) steady(sameLength bool) steadyAnswer {
	header := g.header.Clone()
	// Both connections are asked to close; each hop says so for itself.
	header.Del("Connection")
	blank := []string{"Date"}
	if !sameLength { // that of a volatile field; that there is one must be the same
		blank = append(blank, "Content-Length")
	}
	for _, name := range blank {
		for i := range header[name] {
			header[name][i] = "…"
		}
	}
	var body any
	if json.Unmarshal([]byte(g.body), &body) != nil {
		return steadyAnswer{g.status, header, g.body}
	}
	calm(body)
	return steadyAnswer{g.status, header, body}
}

// calm takes the volatile fields out of v.
func calm(v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, field := range v {
			if slices.Contains(volatile, name) {
				delete(v, name)
				continue
			}
			calm(field)
		}
	case []any:
		for _, field := range v {
			calm(field)
		}
	}
}

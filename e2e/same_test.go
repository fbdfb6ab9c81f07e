package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

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

func wantSame(t *testing.T, direct, through got) {
	t.Helper()
	if diff := different(direct, through); diff != "" {
		t.Errorf("directly (-), through stepup (+):\n%s", diff)
	}
}

// equal compares a value with what it must be.
func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s, want (-), got (+):\n%s", what, diff)
	}
}

// contains checks that a text has these parts.
func contains(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s lacks %q:\n%.2000s", what, part, text)
		}
	}
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

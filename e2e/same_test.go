package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
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
	if direct.status != through.status {
		return fmt.Sprintf("status %d, the server says %d\n%.300s", through.status, direct.status, through.body)
	}
	names := map[string]bool{}
	for name := range direct.header {
		names[name] = true
	}
	for name := range through.header {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		// Both connections are asked to close; each hop says so for itself.
		if name == "Date" || name == "Connection" {
			continue
		}
		have, want := through.header.Values(name), direct.header.Values(name)
		if name == "Content-Length" && len(direct.body) != len(through.body) {
			// The length of a volatile field; that there is one must be the same.
			have, want = []string{fmt.Sprint(len(have))}, []string{fmt.Sprint(len(want))}
		}
		if !slices.Equal(have, want) {
			return fmt.Sprintf("header %s: %q, the server says %q", name, have, want)
		}
	}
	if _, ok := direct.header["Date"]; ok != (len(through.header.Values("Date")) == 1) {
		return fmt.Sprintf("Date: %q, the server says %q", through.header.Values("Date"), direct.header.Values("Date"))
	}
	if direct.body == through.body {
		return ""
	}
	var a, b any
	if json.Unmarshal([]byte(direct.body), &a) != nil || json.Unmarshal([]byte(through.body), &b) != nil {
		return fmt.Sprintf("body %.300q, the server says %.300q", through.body, direct.body)
	}
	calm(a)
	calm(b)
	x, _ := json.Marshal(a) // both came from JSON
	y, _ := json.Marshal(b)
	if string(x) != string(y) {
		return fmt.Sprintf("body %.600s\nthe server says %.600s", y, x)
	}
	return ""
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

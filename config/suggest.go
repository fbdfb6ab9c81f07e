package config

import (
	"fmt"
	"strings"

	"github.com/agext/levenshtein"
)

// nearest is the candidate that was probably meant, or "".
func nearest(given string, candidates []string) string {
	best, distance := "", 3
	if len(given) > 64 {
		return ""
	}
	for _, c := range candidates {
		if n := levenshtein.Distance(strings.ToLower(given), strings.ToLower(c), nil); n < distance && n < len(c) {
			best, distance = c, n
		}
	}
	return best
}

// meant is a hint for a word that is not among candidates.
func meant(given string, candidates []string, otherwise string) string {
	if n := nearest(given, candidates); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	if len(candidates) == 0 {
		return ""
	}
	return otherwise + strings.Join(candidates, ", ")
}

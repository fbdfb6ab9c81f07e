package history

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// maxSince is longer than any log.
const maxSince = 100 * 366 * 24 * time.Hour

// parseSince returns the time that s says, seen from now: a duration before it with a unit
// up to weeks, a date in the zone of now, or a time in RFC 3339.
func parseSince(s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly, time.DateTime} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	d, err := parseDuration(s)
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("%q is neither a duration nor a date", s)
	case d < 0 || d > maxSince:
		return time.Time{}, errors.New("the duration is negative, or longer than a hundred years")
	}
	return now.Add(-d), nil
}

// parseDuration also knows days and weeks, of 24 hours a day.
func parseDuration(s string) (time.Duration, error) {
	if s == "" {
		return 0, errors.New("empty")
	}
	unit, ok := map[byte]time.Duration{'d': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[s[len(s)-1]]
	if !ok {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 16)
	return min(time.Duration(n), maxSince/unit+1) * unit, err // more would overflow
}

package peer

import (
	"net/http"
	"strings"
)

// IsBrowser reports whether a request has a header that only browsers send,
// whatever its value: a page can neither add nor remove these. Sec-Fetch-Mode alone
// proves nothing. Node's fetch always sends it; a browser sends Sec-Fetch-Site and
// Sec-Fetch-Dest with it.
func IsBrowser(h http.Header) bool {
	for name := range h {
		if browserHeader(name) {
			return true
		}
	}
	return false
}

// browserHeader reports whether only browsers send a header of this canonical name. A
// Sec-Fetch header that does not exist yet counts, because browsers add new ones.
func browserHeader(name string) bool {
	switch name {
	case "Origin", "Referer":
		return true
	case "Sec-Fetch-Mode":
		return false
	}
	return strings.HasPrefix(name, "Sec-Fetch-")
}

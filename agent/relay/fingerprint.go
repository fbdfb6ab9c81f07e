package relay

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/vault-stepup/stepup/agent/rule"
)

// fingerprint tells this request from others of the same caller: a retry is the same to
// the letter, and an approval never serves a request with another body. It is "" where
// not all of the body is kept.
func (a *attempt) fingerprint() string {
	if !a.bodyBuffered {
		return ""
	}
	h := sha256.New()
	hashParts(h, a.request.Method, a.request.URL.Opaque, a.request.URL.RequestURI())
	return a.sumWithBody(h)
}

// shareKey names everything in which a request may differ from another one of the
// same caller, "" for one that shares no answer: a login, which gives a token to
// one program; one that changes the protocol; one with a trailer. Headers that name
// the caller do not count (its identity is compared by itself, and no token goes into
// a key), nor those that trace one request.
func (a *attempt) shareKey() string {
	r := a.request
	if a.match.Rule.Grant.Kind != rule.HeaderGrant || isLogin(a.match.Request) ||
		r.Header["Upgrade"] != nil || len(r.Trailer) > 0 {
		return ""
	}
	h := sha256.New()
	hashParts(h, r.Method, r.URL.Opaque, r.URL.EscapedPath(), r.URL.RawQuery)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if !namesCaller(r.Header, name) {
			hashParts(h, name, strconv.Itoa(len(r.Header[name])))
			hashParts(h, r.Header[name]...)
		}
	}
	return a.sumWithBody(h)
}

// namesCaller reports whether a header says only which program asks, or traces it.
func namesCaller(h http.Header, name string) bool {
	switch name {
	case "X-Vault-Token", "User-Agent", "Traceparent", "Tracestate", "X-Request-Id", "X-Correlation-Id":
		return true
	case "Authorization":
		return h["X-Vault-Token"] == nil // it is where the token is
	}
	return false
}

// hashParts adds each part with its length, so that no two lists are the same.
func hashParts(h hash.Hash, parts ...string) {
	for _, part := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s,", len(part), part) // a hash does not fail
	}
}

func (a *attempt) sumWithBody(h hash.Hash) string {
	_, _ = fmt.Fprintf(h, "%d:", a.body.kept.len())
	a.body.kept.hash(h)
	return hex.EncodeToString(h.Sum(nil))
}

package relay

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/vault-stepup/stepup/agent/rule"
)

// same names everything in which a request may differ from another one of the
// same caller, "" for one that shares no answer: a login, which gives a token to
// one program; one that changes the protocol; one with a trailer. Of the headers
// only those do not count that say who asks (the caller's identity is compared by
// itself, and no token goes into a key) or that trace one request.
func (a *attempt) same() string {
	r := a.request
	if a.match.Rule.Grant.Kind != rule.HeaderGrant || isLogin(a.match.Request) || r.Header["Upgrade"] != nil || len(r.Trailer) > 0 {
		return ""
	}
	h := sha256.New()
	write := func(parts ...string) {
		for _, part := range parts {
			_, _ = fmt.Fprintf(h, "%d:%s,", len(part), part) // a hash does not fail
		}
	}
	write(r.Method, r.URL.Opaque, r.URL.EscapedPath(), r.URL.RawQuery)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		switch name {
		case "X-Vault-Token", "User-Agent", "Traceparent", "Tracestate", "X-Request-Id", "X-Correlation-Id":
			continue
		case "Authorization":
			if r.Header["X-Vault-Token"] == nil {
				continue // it is where the token is
			}
		}
		write(name, strconv.Itoa(len(r.Header[name])))
		write(r.Header[name]...)
	}
	_, _ = fmt.Fprintf(h, "%d:", a.body.len())
	a.body.hash(h)
	return hex.EncodeToString(h.Sum(nil))
}

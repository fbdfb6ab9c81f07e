package relay

import (
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/vault-stepup/stepup/agent/express"
)

// Plain reports whether a request goes to Vault as it stands, and the answer back unless
// that is a challenge: no rule names its path, and what it does is neither a login nor the
// end of a token. A write to auth/ or sys/ may be one of these, wherever that stands: what
// is before it may be a namespace.
func (r *Relay) Plain(q express.Request) bool {
	u, err := url.ParseRequestURI(q.Target)
	if err != nil {
		return false
	}
	t := r.transport
	switch q.Method {
	case "GET", "LIST", "SCAN":
	default:
		at := path.Clean("/"+u.Path) + "/"
		if strings.Contains(at, "/auth/") || strings.Contains(at, "/sys/") {
			return false
		}
	}
	in := &http.Request{Method: q.Method, URL: u, RequestURI: q.Target}
	if asked, ok := t.deriveSent(q.Method, t.config.target(in), q.Namespace); ok {
		_, ruled := t.match(asked)
		return !ruled
	}
	return true
}

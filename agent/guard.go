package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/peer"
)

// Reasons for which the guard refuses, as OnRefuse gets them.
const (
	RefusedUser    = "other user"
	RefusedUnknown = "unknown peer"
	RefusedLoop    = "loop"
	RefusedTarget  = "proxy request"
	RefusedHost    = "host"
	RefusedBrowser = "browser"
	RefusedHeader  = "request header"
)

// A Guard decides which requests a listener takes. Without it any user of the
// machine and any web page could spend the tokens of the person who runs the
// agent. Every listener has a guard of its own; its fields do not change while
// it is in use.
//
// A guard needs both of its halves: ConnContext on the server and Wrap around
// the handler. Where the first is missing, the second refuses everything.
type Guard struct {
	// Addr is the address that the listener is bound to, from its Addr method.
	Addr net.Addr
	// RequireHeader asks for X-Vault-Request: true, which no web page can send.
	RequireHeader bool
	// AnyUser leaves it to the handler which users it serves. Only for what gives
	// nothing away and does nothing.
	AnyUser bool
	// Loop knows our own outgoing connections; nil means that there are none.
	Loop *Loop
	// OnRefuse is told of refusals, for the log and the audit log; it may be nil.
	// It is called on the request's goroutine and at most some times a second
	// per reason and user, so that nobody can flood a log through it. Looking up
	// the peer has taken its time by then.
	OnRefuse func(reason string, p peer.Peer)

	limit refusalLimit
}

// A refusal is the guard's no.
type refusal struct {
	status int
	reason string
	words  string
}

type connKey struct{}

// ConnContext gives each connection who is at its other end, which the screen in
// front of the server has found out, and is meant for http.Server. It runs in the
// accept loop and does not wait. The peer is found with peer.FromContext; another
// guard's Wrap may use the connection too, so a configuration can be replaced
// under open connections.
func (g *Guard) ConnContext(ctx context.Context, c net.Conn) context.Context {
	id := identityOf(c)
	return peer.NewContext(context.WithValue(ctx, connKey{}, id), id.Describe)
}

// Wrap returns a handler that gives next only the requests that pass. The others
// get the status of the contract and a Vault-shaped body, and their connection
// is closed.
func (g *Guard) Wrap(next http.Handler) http.Handler {
	hosts := acceptedHosts(g.Addr)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _ := r.Context().Value(connKey{}).(*peer.Conn)
		no, refused := g.checkPeer(conn)
		if !refused {
			no, refused = g.checkRequest(r, hosts)
		}
		if !refused {
			next.ServeHTTP(w, r)
			return
		}
		g.report(no.reason, conn)
		writeRefusal(w, no)
	})
}

// checkPeer looks at who is at the other end.
func (g *Guard) checkPeer(conn *peer.Conn) (refusal, bool) {
	if conn == nil {
		return refusal{http.StatusForbidden, RefusedUnknown, wordsUnknown}, true
	}
	switch err := conn.SameUser(); {
	case g.AnyUser:
	case errors.Is(err, peer.ErrOtherUser):
		return refusal{http.StatusForbidden, RefusedUser, wordsOtherUser}, true
	case errors.Is(err, peer.ErrUnsupported):
		return refusal{http.StatusForbidden, RefusedUnknown, wordsUnsupported}, true
	case err != nil:
		return refusal{http.StatusForbidden, RefusedUnknown, wordsUnknown}, true
	}
	// An agent whose upstream is itself would open connections until it has no
	// file descriptors left.
	if g.Loop.contains(conn) {
		return refusal{http.StatusLoopDetected, RefusedLoop, wordsLoop}, true
	}
	return refusal{}, false
}

// checkRequest looks at what the request says about where it comes from.
func (g *Guard) checkRequest(r *http.Request, hosts []string) (refusal, bool) {
	// A client that takes us for its HTTP proxy would hand us requests, and
	// credentials, that are meant for others.
	if !originForm(r) {
		return refusal{http.StatusMisdirectedRequest, RefusedTarget, wordsTarget}, true
	}
	// DNS rebinding: a page's own name is made to resolve to 127.0.0.1, and the
	// browser then treats us as that page's server, so that it can read our
	// answers. The name in Host is what gives it away.
	if hosts != nil && !slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, r.Host) }) {
		return refusal{http.StatusMisdirectedRequest, RefusedHost, fmt.Sprintf(wordsHost, g.Addr)}, true
	}
	// Cross-site requests: any page can make a browser post to localhost without
	// reading the answer, which is enough to change something. A browser runs as
	// the right user, but adds one of these by itself and lets no page remove it.
	if fromBrowser(r.Header) {
		return refusal{http.StatusForbidden, RefusedBrowser, wordsBrowser}, true
	}
	// As Vault's own agent: exactly one line with exactly this value.
	if v := r.Header["X-Vault-Request"]; g.RequireHeader && (len(v) != 1 || v[0] != "true") {
		return refusal{http.StatusPreconditionFailed, RefusedHeader, wordsHeader}, true
	}
	return refusal{}, false
}

// originForm reports whether the target is a path of ours, or the asterisk of an
// OPTIONS request.
func originForm(r *http.Request) bool {
	if r.Method == http.MethodConnect {
		return false
	}
	return strings.HasPrefix(r.RequestURI, "/") || r.Method == http.MethodOptions && r.RequestURI == "*"
}

// fromBrowser reports whether there is a header that browsers add, whatever its
// value.
func fromBrowser(h http.Header) bool {
	for name := range h {
		if name == "Origin" || name == "Referer" || strings.HasPrefix(name, "Sec-Fetch-") {
			return true
		}
	}
	return false
}

// acceptedHosts lists the values of Host for a listener: its own address and
// localhost with its port. nil means any: a page cannot reach a unix socket.
func acceptedHosts(a net.Addr) []string {
	if a == nil {
		return []string{}
	}
	if a.Network() == "unix" {
		return nil
	}
	own := a.String()
	host, port, err := net.SplitHostPort(own)
	if err != nil {
		return []string{}
	}
	hosts := []string{own, net.JoinHostPort("localhost", port)}
	if port == "80" { // clients leave out the port that is usual for http
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		hosts = append(hosts, host, "localhost")
	}
	return hosts
}

// report tells OnRefuse.
func (g *Guard) report(reason string, conn *peer.Conn) {
	if g.OnRefuse == nil {
		return
	}
	p := peer.Peer{UID: -1}
	if conn != nil {
		p.UID = conn.UID()
	}
	if !g.limit.allow(refusalKey{reason, p.UID}, time.Now()) {
		return
	}
	if conn != nil {
		p = conn.Describe()
	}
	g.OnRefuse(reason, p)
}

// writeRefusal answers in the form of Vault's errors. The connection is closed:
// the rest of a refused request is not worth reading.
func writeRefusal(w http.ResponseWriter, no refusal) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Connection", "close")
	w.WriteHeader(no.status)
	_ = json.NewEncoder(w).Encode(map[string][]string{"errors": {refusalPrefix + no.words}})
}

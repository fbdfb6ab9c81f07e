package listener

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

	"github.com/vault-stepup/stepup/agent/express"
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
	RefusedTree    = "outside the command" // of a private listener: its command did not start the process
	RefusedHidden  = "hidden process"      // of a private listener: the process hides, so its parents are unknown
)

// A Guard decides which requests a listener takes. Without it any user of the
// machine and any web page could use the tokens of the agent's user. Every listener has a guard of its own; its fields do not change while
// it is in use.
//
// A guard needs both of its halves: ConnContext on the server and Wrap around
// the handler. Where the first is missing, the second refuses everything.
type Guard struct {
	// Addr is the address that the listener is bound to, from its Addr method.
	Addr net.Addr
	// RequireHeader asks for X-Vault-Request: true, which no web page can send.
	RequireHeader bool
	// AnyUser leaves the check of the user to the handler. Use it only for a handler
	// that gives nothing away and does nothing.
	AnyUser bool
	// Loop knows our own outgoing connections; nil means none.
	Loop *Loop
	// OnRefuse gets refusals, for the log and the audit log; it may be nil.
	// It is called on the request's goroutine and at most some times a second
	// per reason and user, so that no user can flood a log through it. Looking up
	// the peer has taken its time by then.
	OnRefuse func(reason string, p peer.Peer)

	limit refusalLimit
}

// A refusal is an answer of the guard in place of the handler.
type refusal struct {
	status int
	reason string
	text   string
}

type connKey struct{}

// ConnContext puts the peer of a connection into its context, and is meant for
// http.Server. It runs in the accept loop and does not wait: the identifier in front
// of the server has found the peer. Handlers get it with peer.FromContext. Another
// guard's Wrap may use the connection too, so a configuration can be replaced
// under open connections.
func (g *Guard) ConnContext(ctx context.Context, c net.Conn) context.Context {
	ctx, c = express.ConnContext(ctx, c)
	id := identityOf(c)
	return id.NewContext(context.WithValue(ctx, connKey{}, id))
}

// Wrap returns a handler that gives next only the requests that pass. The others
// get the status of the contract and a Vault-shaped body, and their connection
// is closed.
func (g *Guard) Wrap(next http.Handler) http.Handler {
	accepted := acceptedHosts(g.Addr)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn := connOf(r)
		no, refused := g.checkPeer(conn)
		if !refused {
			no, refused = g.checkRequest(r, accepted)
		}
		if !refused {
			next.ServeHTTP(w, r)
			return
		}
		g.report(no.reason, conn)
		writeRefusal(w, no)
	})
}

// connOf returns the connection of a request, nil without [Guard.ConnContext].
func connOf(r *http.Request) *peer.Conn {
	conn, _ := r.Context().Value(connKey{}).(*peer.Conn)
	return conn
}

// WrapProcessTree returns a handler that gives next only the requests of processes
// that root or one of its children started. The guard of the server has checked
// user and headers before.
func (g *Guard) WrapProcessTree(root int, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn := connOf(r)
		if no, refused := checkTree(conn, root); refused {
			g.report(no.reason, conn)
			writeRefusal(w, no)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// AdmitsTree reports whether [Guard.WrapProcessTree] lets the requests of c pass.
func AdmitsTree(root int, c net.Conn) bool {
	_, refused := checkTree(identityOf(c), root)
	return !refused
}

// checkTree asks the kernel for the process of a connection. It refuses a process
// that is not found: a program outside the command could hide, too. On a unix socket
// it is found, because the kernel tells its number, and /proc/PID/stat is public.
func checkTree(conn *peer.Conn, root int) (refusal, bool) {
	if conn == nil {
		return refusal{http.StatusForbidden, RefusedUnknown, wordsUnknown}, true
	}
	switch in, err := conn.DescendantOf(root); {
	case err != nil:
		return refusal{http.StatusForbidden, RefusedHidden, "this listener serves only the command that it was opened for, and your program hides its process (the kernel does that for a file with capabilities, such as vault's cap_ipc_lock); use `stepup exec --listen private-unix`, where the kernel tells which process it is"}, true
	case !in:
		return refusal{http.StatusForbidden, RefusedTree, "this listener serves only the command that it was opened for and what that starts; use the agent's own listeners (`stepup status`)"}, true
	}
	return refusal{}, false
}

// WrapSameUser returns a handler that gives next only the requests of this user.
// Others get text. It is for a server whose guard has AnyUser.
func (g *Guard) WrapSameUser(text string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn := connOf(r); conn == nil || conn.SameUser() != nil {
			g.report(RefusedUser, conn)
			writeRefusal(w, refusal{http.StatusForbidden, RefusedUser, text})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// CloseAfterOthers returns a handler that closes the connection of another user
// after one answer: a later request would run into the deadline of the connection.
func CloseAfterOthers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn := connOf(r); conn == nil || conn.SameUser() != nil {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// checkPeer checks the user at the other end, and that it is not the agent itself.
func (g *Guard) checkPeer(conn *peer.Conn) (refusal, bool) {
	if conn == nil {
		return refusal{http.StatusForbidden, RefusedUnknown, wordsUnknown}, true
	}
	switch err := conn.SameUser(); {
	case g.AnyUser:
	case errors.Is(err, peer.ErrOtherUser):
		return refusal{http.StatusForbidden, RefusedUser, "this agent serves only the user that started it; run `stepup agent` as your own user"}, true
	case errors.Is(err, peer.ErrUnsupported):
		return refusal{http.StatusForbidden, RefusedUnknown, "this system does not tell who connects to this kind of listener; use the unix socket"}, true
	case err != nil:
		return refusal{http.StatusForbidden, RefusedUnknown, wordsUnknown}, true
	}
	// An agent whose upstream is itself would open connections until it has no
	// file descriptors left.
	if g.Loop.contains(conn) {
		return refusal{http.StatusLoopDetected, RefusedLoop, "this request came from the agent itself; set `address` of the vault block to the real Vault, not to one of the agent's listeners"}, true
	}
	return refusal{}, false
}

// admits reports whether the requests of a connection are served, as checkPeer does.
func (g *Guard) admits(c net.Conn) bool {
	_, refused := g.checkPeer(identityOf(c))
	return !refused
}

// checkRequest checks the target and the headers of a request.
func (g *Guard) checkRequest(r *http.Request, accepted hosts) (refusal, bool) {
	// A client that takes us for its HTTP proxy would send us requests, and
	// credentials, that are meant for other servers.
	if !originForm(r) {
		return refusal{http.StatusMisdirectedRequest, RefusedTarget, "this is not a forward proxy; set VAULT_ADDR to the agent instead of a proxy variable"}, true
	}
	// DNS rebinding: a page's own name is made to resolve to 127.0.0.1, and the
	// browser then treats us as that page's server, so that it can read our
	// answers. The name in Host is what gives it away.
	if !accepted.accept(r.Host) {
		return refusal{http.StatusMisdirectedRequest, RefusedHost, fmt.Sprintf("the Host header is not this listener's; set VAULT_ADDR to http://%s", g.Addr)}, true
	}
	// Cross-site requests: any page can make a browser post to localhost without
	// reading the answer, which is enough to change something. A browser runs as
	// the right user, but adds one of these by itself and lets no page remove it. No page
	// reaches a unix socket: what a program sends there is its own affair.
	if accepted != nil && peer.IsBrowser(r.Header) {
		return refusal{http.StatusForbidden, RefusedBrowser, "requests of web pages are refused; use a program that sends no Origin, Referer or Sec-Fetch-Site header, or the unix socket"}, true
	}
	// As Vault's own agent: exactly one line with exactly this value.
	if v := r.Header["X-Vault-Request"]; g.RequireHeader && (len(v) != 1 || v[0] != "true") {
		return refusal{http.StatusPreconditionFailed, RefusedHeader, "this listener requires the header X-Vault-Request: true; have your program send it, or use a listener without `require_request_header`"}, true
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

// hosts are values of Host. nil means any: a page cannot reach a unix socket.
type hosts []string

func (all hosts) accept(host string) bool {
	return all == nil || slices.ContainsFunc(all, func(h string) bool { return strings.EqualFold(h, host) })
}

// acceptedHosts are those of a listener: its own address and localhost with its port.
func acceptedHosts(a net.Addr) hosts {
	if a == nil {
		return hosts{}
	}
	if _, ok := a.(*net.UnixAddr); ok { // or a named pipe
		return nil
	}
	own := a.String()
	host, port, err := net.SplitHostPort(own)
	if err != nil {
		return hosts{}
	}
	all := hosts{own, net.JoinHostPort("localhost", port)}
	if port == "80" { // clients leave out the port that is usual for http
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		all = append(all, host, "localhost")
	}
	return all
}

// report calls OnRefuse.
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
	_ = json.NewEncoder(w).Encode(map[string][]string{"errors": {"stepup: " + no.text}})
}

// Package gate stands in front of a real community Vault and enforces the
// mfa_methods of its policies, as Vault Enterprise does. Community Vault keeps
// mfa_methods and shows them, but never enforces them.
package gate

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"
)

// denied is the whole body of an Enterprise denial for want of a second
// factor: it cannot be told from an ordinary one.
const denied = `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}` + "\n"

// maxBody is Vault's own limit for a request (max_request_size).
const maxBody = 32 << 20

// A Gate is a handler that relays to Vault what its policies allow without a
// second factor, or with a valid one. It is safe for concurrent use; methods are
// added before the first request.
type Gate struct {
	root    *api.Client
	proxy   *httputil.ReverseProxy
	now     func() time.Time
	methods map[string]method

	mu   sync.Mutex
	seen []Seen
}

// Seen is one request as the gate got it, in order of arrival.
type Seen struct {
	Method string
	Path   string   // decoded
	Token  string   // that it was sent with; "" is none
	MFA    []string // the lines of X-Vault-MFA
	Status int      // 0 until it is answered; set before the client has the answer
	Read   int64    // bytes of the body that were read by the gate or by Vault, once Done
	Done   bool
}

// New returns a gate in front of the Vault that root speaks to. The client needs
// a root token: it looks up the tokens and policies of others.
func New(root *api.Client) (*Gate, error) {
	upstream, err := url.Parse(root.Address())
	if err != nil {
		return nil, err
	}
	g := &Gate{root: root, now: time.Now, methods: map[string]method{}}
	g.proxy = &httputil.ReverseProxy{
		// Every httptest.Server closes the default one's idle connections at its end.
		Transport:     http.DefaultTransport.(*http.Transport).Clone(),
		FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(upstream)
			p.Out.Host = p.In.Host
			p.Out.URL.RawQuery = p.In.URL.RawQuery
		},
	}
	return g, nil
}

// Seen returns the requests whose decoded path is p; all if p is empty.
func (g *Gate) Seen(p string) []Seen {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []Seen
	for _, s := range g.seen {
		if p == "" || s.Path == p {
			out = append(out, s)
		}
	}
	return out
}

// ServeHTTP relays, or answers as Enterprise does.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := &counter{ReadCloser: r.Body}
	r.Body = body
	g.mu.Lock()
	at := len(g.seen)
	g.seen = append(g.seen, Seen{
		Method: r.Method, Path: r.URL.Path, Token: callerToken(r), MFA: slices.Clone(r.Header.Values("X-Vault-MFA")),
	})
	g.mu.Unlock()
	note := func(set func(*Seen)) {
		g.mu.Lock()
		defer g.mu.Unlock()
		set(&g.seen[at])
	}
	rec := &recorder{ResponseWriter: w, answered: func(status int) { note(func(s *Seen) { s.Status = status }) }}
	defer func() { note(func(s *Seen) { s.Read, s.Done = body.n.Load(), true }) }()

	methods, entity, err := g.wanted(r)
	if err != nil {
		http.Error(rec, `{"errors":["gate: `+err.Error()+`"]}`, http.StatusInternalServerError)
		return
	}
	if len(methods) > 0 {
		creds, err := parseCreds(r.Header)
		if err != nil {
			// Vault itself refuses the header before anything else.
			g.proxy.ServeHTTP(rec, r)
			return
		}
		if !g.satisfied(r.Context(), entity, methods, creds) {
			// Vault has read the body when it decides, so a client that is
			// still sending gets the answer, not a broken connection.
			_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, maxBody))
			rec.Header().Set("Cache-Control", "no-store")
			rec.Header().Set("Content-Type", "application/json")
			rec.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(rec, denied)
			return
		}
	}
	g.proxy.ServeHTTP(rec, r)
}

// wanted finds the methods that r must satisfy, and whose they are. None means
// that the request is Vault's alone: nothing is guarded, or Vault denies it anyway.
func (g *Gate) wanted(r *http.Request) (methods []string, entity string, err error) {
	token := callerToken(r)
	op, p, ok := operation(r)
	if token == "" || !ok {
		return nil, "", nil
	}
	info, err := g.root.Auth().Token().LookupWithContext(r.Context(), token)
	if err != nil {
		var answer *api.ResponseError
		if errors.As(err, &answer) {
			return nil, "", nil // a bad token
		}
		return nil, "", err
	}
	names, err := info.TokenPolicies()
	if err != nil {
		return nil, "", err
	}
	if slices.Contains(names, "root") {
		return nil, "", nil // root skips the check
	}
	acl, err := g.load(r.Context(), names)
	if err != nil {
		return nil, "", err
	}
	methods = acl.methods(p, op == "list")
	if len(methods) == 0 {
		return nil, "", nil
	}
	granted, err := g.root.Sys().CapabilitiesWithContext(r.Context(), token, p)
	if err != nil {
		return nil, "", err
	}
	if !slices.Contains(granted, op) && (op != "update" || !slices.Contains(granted, "create")) {
		return nil, "", nil
	}
	entity, _ = info.Data["entity_id"].(string)
	return methods, entity, nil
}

func callerToken(r *http.Request) string {
	if token := r.Header.Get("X-Vault-Token"); token != "" {
		return token
	}
	for _, line := range r.Header["Authorization"] {
		if token, ok := strings.CutPrefix(line, "Bearer "); ok {
			return strings.TrimSpace(token)
		}
	}
	return ""
}

// operation derives what Vault checks. ok is false where nothing is checked, or
// where Vault first redirects to the clean path.
func operation(r *http.Request) (op, p string, ok bool) {
	// Vault cleans the path as it was sent: what is encoded in it, dots and slashes too, is
	// matched decoded and as it is.
	sent := r.URL.EscapedPath()
	p, ok = strings.CutPrefix(r.URL.Path, "/v1/")
	clean := path.Clean(sent)
	if strings.HasSuffix(sent, "/") {
		clean += "/"
	}
	if !ok || p == "" || clean != sent {
		return "", "", false
	}
	switch r.Method {
	case http.MethodGet:
		op = "read"
		if list, err := strconv.ParseBool(r.URL.Query().Get("list")); err == nil && list {
			op = "list"
		}
	case "LIST":
		op = "list"
	case http.MethodPost, http.MethodPut:
		op = "update"
	case http.MethodPatch:
		op = "patch"
	case http.MethodDelete:
		op = "delete"
	default:
		return "", "", false
	}
	if op == "list" && !strings.HasSuffix(p, "/") {
		p += "/"
	}
	return op, p, true
}

// load reads the policies from the server, each time anew: a test may change them.
func (g *Gate) load(ctx context.Context, names []string) (acl, error) {
	a := acl{}
	for _, name := range names {
		text, err := g.root.Sys().GetPolicyWithContext(ctx, name)
		if err != nil {
			return nil, err
		}
		if err := a.add(text); err != nil {
			return nil, err
		}
	}
	return a, nil
}

type counter struct {
	io.ReadCloser
	n atomic.Int64 // a transport may read on after its answer is there
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// A recorder tells the status before it goes out. Everything here writes one.
type recorder struct {
	http.ResponseWriter
	answered func(status int)
}

func (r *recorder) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		r.answered(status)
	}
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController flush and hijack.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

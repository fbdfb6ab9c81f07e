// Package devvault is an embedded development Vault for `stepup demo` and the
// tests. It stands for Vault Enterprise: policies with mfa_methods are enforced
// (TOTP and blocking pushes), Login MFA works in one and two phases, and the
// statuses, texts and JSON shapes are those of Vault 1.21, read off a running
// server where community Vault has the feature. Everything is in memory,
// nothing is encrypted, and it must never hold a real secret.
//
// What a test sets up in Go: namespaces, policies, users, MFA methods, roles and
// secrets. What it offers over HTTP: what a client does with them.
package devvault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Defaults of [Config], as in Vault where Vault has them.
const (
	defaultTTL         = 768 * time.Hour  // system-wide lease of a token
	defaultPushTimeout = 60 * time.Second // about what Duo does
	readHeaderTimeout  = 10 * time.Second
)

// A Flavor is the server that a Server stands for, where they differ for a client. mfa_methods are
// enforced under each: without them there is nothing to relay.
type Flavor string

// The flavors, each as it was seen: Vault 1.21 and OpenBao 2.6.
const (
	Enterprise Flavor = ""          // Vault Enterprise: namespaces in the header, in the path, or half in each
	Community  Flavor = "community" // Vault without namespaces: X-Vault-Namespace is given back and means nothing
	// OpenBao has namespaces too, none that is not there, and SCAN. It answers a dead token as if
	// there were none, and refuses dots that were escaped.
	OpenBao Flavor = "openbao"
)

// Config says how a Server behaves. The zero value is useful.
type Config struct {
	// Flavor is the server that it stands for; "" is Enterprise.
	Flavor Flavor
	// Now is the wall clock of tokens, codes and held logins; nil is time.Now.
	// Pushes time out by a real timer.
	Now func() time.Time
	// Log gets what Vault writes to its server log, such as why a second
	// factor failed; nil discards it. It never gets a secret.
	Log *slog.Logger
	// RootToken is the token that may do everything; "" makes one up.
	RootToken string
	// TokenTTL is how long tokens of logins live; 0 means 768 h.
	TokenTTL time.Duration
	// PushTimeout is how long a push waits for the person; 0 means 60 s.
	PushTimeout time.Duration
	// CleanStatus is the status of the redirect that an unclean path gets: 0
	// means 301, which released Vault sends; a Vault built with Go 1.26 or later
	// sends 307, because http.ServeMux changed.
	CleanStatus int
	// Record keeps every request for [Server.Requests], tokens, passwords and
	// codes included.
	Record bool
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.RootToken == "" {
		c.RootToken = newTokenID()
	}
	if c.TokenTTL == 0 {
		c.TokenTTL = defaultTTL
	}
	if c.PushTimeout == 0 {
		c.PushTimeout = defaultPushTimeout
	}
	if c.CleanStatus == 0 {
		c.CleanStatus = http.StatusMovedPermanently
	}
	return c
}

// A Server is one development Vault. It is an http.Handler; [Server.Start]
// serves it on a port of its own. The embedded Namespace is the root namespace,
// so that a Server is set up by the methods of [Namespace]. All methods may be
// called at any time, by any goroutine.
type Server struct {
	*Namespace

	cfg      Config
	clusters [2]string // id, name: made once, as Vault does at initialisation
	done     chan struct{}
	records  recorder
	monitors monitors

	life struct {
		sync.Mutex
		closed   bool
		handlers sync.WaitGroup // every request being answered
		http     *http.Server   // nil until Start
		served   chan struct{}  // closed when the accept loop has ended
	}

	// mu guards state, which every Namespace and method of an MFA shares. It is
	// never held while a push waits for a person.
	mu    sync.Mutex
	state state
}

// state is everything that requests read and change.
type state struct {
	namespaces map[string]*Namespace // by path: "" or "ns1/ns2/"
	tokens     map[string]*token     // by ID
	entities   map[string]*entity    // by ID
	methods    []*method             // in the order they were added
	held       map[string]*heldLogin // by mfa_request_id

	heldOrder   []string      // IDs of the wrapping tokens of control groups
	heldChanged chan struct{} // closed and replaced when that grows
}

// New returns a Server with a root token, the policy "default", and KV version 2
// at secret/ and kv/.
func New(c Config) *Server {
	s := &Server{cfg: c.withDefaults(), done: make(chan struct{})}
	s.clusters = [2]string{newUUID(), "vault-cluster-" + newUUID()[:8]}
	s.records.on = c.Record
	s.state = state{
		namespaces: make(map[string]*Namespace),
		tokens:     make(map[string]*token),
		entities:   make(map[string]*entity),
		held:       make(map[string]*heldLogin),

		heldChanged: make(chan struct{}),
	}
	s.Namespace = s.newNamespaceLocked("")
	s.state.tokens[s.cfg.RootToken] = &token{
		id: s.cfg.RootToken, accessor: newAccessor(), ns: s.Namespace, display: "token",
		path: "auth/token/create", policies: []string{"root"}, created: s.now(), orphan: true,
	}
	return s
}

// RootToken is the token that may do everything and is never asked for MFA.
func (s *Server) RootToken() string { return s.cfg.RootToken }

// now is the wall clock: the monotonic one stops while a machine sleeps.
func (s *Server) now() time.Time { return s.cfg.Now().Round(0).UTC() }

// Start serves on a free port of 127.0.0.1 until [Server.Close], and returns the
// URL to use as VAULT_ADDR.
func (s *Server) Start() (url string, err error) {
	s.life.Lock()
	defer s.life.Unlock()
	if s.life.closed || s.life.http != nil {
		return "", errors.New("starting the development Vault: it was started or closed before")
	}
	var listen net.ListenConfig
	l, err := listen.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("starting the development Vault: %w", err)
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: readHeaderTimeout, ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug)}
	served := make(chan struct{})
	s.life.http, s.life.served = server, served
	go func() {
		defer close(served)
		_ = server.Serve(l) // it always ends with an error, by Close
	}()
	return "http://" + l.Addr().String(), nil
}

// Close ends every push and stream, and waits until no request is being
// answered and nothing listens. Later requests get a 503. A second call waits
// like the first.
func (s *Server) Close() {
	s.life.Lock()
	first := !s.life.closed
	s.life.closed = true
	server, served := s.life.http, s.life.served
	s.life.Unlock()
	if first {
		close(s.done)
	}
	if server != nil {
		_ = server.Close() // cancels the context of each request that still runs
		<-served
	}
	s.life.handlers.Wait()
}

// enter counts a request in, unless the Server is closed.
func (s *Server) enter() bool {
	s.life.Lock()
	defer s.life.Unlock()
	if s.life.closed {
		return false
	}
	s.life.handlers.Add(1)
	return true
}

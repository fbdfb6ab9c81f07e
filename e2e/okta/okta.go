// Package okta is as much of Okta's API as Vault calls. Its MFA client finds a
// user and the push factor, starts a push, and asks each second what the phone
// has decided. Its Okta auth method logs in with a password (authn.go), and has a
// push, with a number to tap or without, or a code decide.
package okta

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Token is what Vault must present.
const Token = "okta-api-token"

// A Result is the state of a push, in Okta's words.
type Result string

// The states. A push is Waiting until its phone says one of the others.
const (
	Waiting  Result = "WAITING"
	Approved Result = "SUCCESS"
	Rejected Result = "REJECTED"
	TimedOut Result = "TIMEOUT"
)

// A Phone decides on one push. It may block for as long as it likes: Okta does
// not learn that its result is no longer asked for. ctx ends with the stub.
type Phone func(ctx context.Context) Result

// A Stub is an Okta organisation. Vault drops the port of an organisation, so
// it listens at port 443 of an address of this machine alone. One stub serves
// any number of methods; the phone tells them apart by the name of the user.
type Stub struct {
	server *http.Server
	addr   net.IP
	cert   string // file of the certificate
	ctx    context.Context
	stop   context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	phones map[string]Phone
	users  map[string]*activity
	pushes map[string]*push // by transaction

	accounts map[string]*Account
	logins   map[string]*transaction // by state token
}

type activity struct {
	pushes int
	polls  int
	polled time.Time
}

type push struct {
	user   string
	result Result
}

// New starts a stub whose certificate is a file in dir; Close stops it. It fails
// where port 443 is not ours to listen at.
func New(dir string) (*Stub, error) {
	l, err := listen()
	if err != nil {
		return nil, err
	}
	addr := l.Addr().(*net.TCPAddr).IP
	certificate, file, err := certify(addr, dir)
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	s := &Stub{
		addr: addr, cert: file,
		phones: map[string]Phone{}, users: map[string]*activity{}, pushes: map[string]*push{},
		accounts: map[string]*Account{}, logins: map[string]*transaction{},
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.server = &http.Server{Handler: s.handler(), TLSConfig: certificate, ReadHeaderTimeout: time.Minute}
	s.work.Go(func() { _ = s.server.ServeTLS(l, "", "") })
	return s, nil
}

// Close stops the stub and waits for its phones, whose contexts end.
func (s *Stub) Close() {
	s.stop()
	_ = s.server.Close()
	s.work.Wait()
}

// Certificate names the file that Vault has to trust (SSL_CERT_FILE).
func (s *Stub) Certificate() string { return s.cert }

// Settings are the fields of a Vault method that uses this stub: it makes its
// URL of org_name, a dot and base_url.
func (s *Stub) Settings() map[string]any {
	text := s.addr.String()
	dot := strings.LastIndexByte(text, '.')
	return map[string]any{"org_name": text[:dot], "base_url": text[dot+1:], "api_token": Token}
}

// Give hands a user a phone; one that has none is not known to Okta.
func (s *Stub) Give(user string, p Phone) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phones[user] = p
	s.users[user] = &activity{}
}

// Pushes counts what was sent to a user's phone.
func (s *Stub) Pushes(user string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.users[user]; a != nil {
		return a.pushes
	}
	return 0
}

// Polled is when Vault last asked for the result of a push to user.
func (s *Stub) Polled(user string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.users[user]; a != nil {
		return a.polled
	}
	return time.Time{}
}

// Polls counts how often Vault asked for the result of a login's push.
func (s *Stub) Polls(user string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.users[user]; a != nil {
		return a.polls
	}
	return 0
}

// handler has the four calls of the MFA client, and those of authn; a user's ID is its name, and there is one factor.
func (s *Stub) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/users", s.find)
	mux.HandleFunc("GET /api/v1/users/{user}/factors", s.factors)
	mux.HandleFunc("POST /api/v1/users/{user}/factors/push/verify", s.verify)
	mux.HandleFunc("GET /api/v1/users/{user}/factors/push/transactions/{id}", s.poll)
	s.authn(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "SSWS "+Token {
			reply(w, http.StatusUnauthorized, map[string]any{"errorCode": "E0000011", "errorSummary": "Invalid token provided"})
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (s *Stub) find(w http.ResponseWriter, r *http.Request) {
	found := []any{}
	quoted, ok := strings.CutPrefix(r.URL.Query().Get("filter"), "profile.login eq ")
	name, err := strconv.Unquote(quoted)
	if !ok || err != nil {
		reply(w, http.StatusBadRequest, map[string]any{"errorCode": "E0000031", "errorSummary": "Invalid search criteria."})
		return
	}
	s.mu.Lock()
	_, known := s.phones[name]
	s.mu.Unlock()
	if known {
		found = append(found, map[string]any{"id": name, "status": "ACTIVE", "profile": map[string]any{"login": name}})
	}
	reply(w, http.StatusOK, found)
}

func (s *Stub) factors(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, []any{map[string]any{"id": "push", "factorType": "push", "provider": "OKTA", "status": "ACTIVE"}})
}

// verify starts a push: the phone rings, and its answer is kept for the polls.
func (s *Stub) verify(w http.ResponseWriter, r *http.Request) {
	user := r.PathValue("user")
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.phones[user]; !known {
		http.NotFound(w, r)
		return
	}
	id := fmt.Sprintf("tx%d", len(s.pushes)+1)
	s.pushes[id] = s.pushLocked(user)
	link := fmt.Sprintf("https://%s/api/v1/users/%s/factors/push/transactions/%s", s.addr, user, id)
	reply(w, http.StatusCreated, map[string]any{
		"factorResult": Waiting, "_links": map[string]any{"poll": map[string]any{"href": link}},
	})
}

// pushLocked sends a push to the phone of a user, whose answer the push keeps.
func (s *Stub) pushLocked(user string) *push {
	phone, p := s.phones[user], &push{user: user, result: Waiting}
	s.users[user].pushes++
	s.work.Go(func() {
		result := phone(s.ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		p.result = result
	})
	return p
}

func (s *Stub) poll(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pushes[r.PathValue("id")]
	if p == nil || p.user != r.PathValue("user") {
		http.NotFound(w, r)
		return
	}
	s.users[p.user].polled = time.Now()
	reply(w, http.StatusOK, map[string]any{"factorResult": p.result})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

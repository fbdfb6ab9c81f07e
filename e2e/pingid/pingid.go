// Package pingid is as much of PingID's API as Vault's MFA client calls: one
// POST that blocks until the push is decided on the phone.
package pingid

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

const (
	orgToken = "tok"
	orgAlias = "org"
	authPath = "/rest/4/authonline/do"
)

// A Decision is what the phone says.
type Decision struct {
	Approve bool
	Message string // PingID's errorMsg of a refusal, which Vault repeats
}

// A Phone decides on one push. It may block; ctx ends when Vault gives up.
type Phone func(ctx context.Context, user string) Decision

// A Stub is a PingID organisation on a free port. One stub serves any number of
// methods; the phone tells them apart by the name of the user.
type Stub struct {
	server *httptest.Server
	key    []byte

	mu     sync.Mutex
	phones map[string]Phone
	pushes map[string]int
	open   map[string]int
}

// New starts a stub; Close stops it.
func New() *Stub {
	s := &Stub{key: make([]byte, 32), phones: map[string]Phone{}, pushes: map[string]int{}, open: map[string]int{}}
	_, _ = rand.Read(s.key) // never fails (crypto/rand)
	s.server = httptest.NewServer(s)
	return s
}

// Close stops the stub and ends the pushes that are still open.
func (s *Stub) Close() {
	s.server.CloseClientConnections()
	s.server.Close()
}

// Settings is the settings_file_base64 of a Vault method that uses this stub.
func (s *Stub) Settings() string {
	lines := []string{
		"use_base64_key=" + base64.StdEncoding.EncodeToString(s.key),
		"use_signature=true",
		"token=" + orgToken,
		"idp_url=" + s.server.URL,
		"org_alias=" + orgAlias,
		"admin_url=" + s.server.URL,
		"authenticator_url=" + s.server.URL,
	}
	return base64.StdEncoding.EncodeToString([]byte(strings.Join(lines, "\n") + "\n"))
}

// Give hands a user a phone; one that has none is refused.
func (s *Stub) Give(user string, p Phone) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phones[user] = p
}

// Pushes counts what was sent to a user's phone.
func (s *Stub) Pushes(user string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pushes[user]
}

// Open counts the pushes that Vault waits for.
func (s *Stub) Open(user string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[user]
}

// ServeHTTP answers Vault's one call.
func (s *Stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil || r.Method != http.MethodPost || r.URL.Path != authPath {
		http.Error(w, "unexpected request", http.StatusBadRequest)
		return
	}
	var claims struct {
		Body struct {
			User string `json:"userName"`
		} `json:"reqBody"`
	}
	if err := s.verify(string(text), &claims); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	s.mu.Lock()
	phone, ok := s.phones[claims.Body.User]
	s.pushes[claims.Body.User]++
	s.open[claims.Body.User]++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open[claims.Body.User]--
	}()
	d := Decision{Message: "user has no device"}
	if ok {
		d = phone(r.Context(), claims.Body.User)
	}
	if r.Context().Err() != nil {
		return
	}
	body := map[string]any{"errorId": 200, "errorMsg": ""}
	if !d.Approve {
		body = map[string]any{"errorId": 20513, "errorMsg": d.Message}
	}
	_, _ = io.WriteString(w, s.sign(map[string]any{"responseBody": body}))
}

// sign makes a JWT with HS256 (RFC 7519, RFC 7515).
func (s *Stub) sign(claims any) string {
	part := func(v any) string {
		b, _ := json.Marshal(v) // maps of strings and numbers only
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(map[string]string{"alg": "HS256", "typ": "JWT", "token": orgToken, "orgAlias": orgAlias}) + "." + part(claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(s.mac(text))
}

func (s *Stub) verify(token string, claims any) error {
	i := strings.LastIndexByte(token, '.')
	if i < 0 {
		return errors.New("not a JWT")
	}
	signature, err := base64.RawURLEncoding.DecodeString(token[i+1:])
	if err != nil || !hmac.Equal(signature, s.mac(token[:i])) {
		return errors.New("wrong signature")
	}
	_, payload, _ := strings.Cut(token[:i], ".")
	b, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, claims)
}

func (s *Stub) mac(text string) []byte {
	h := hmac.New(sha256.New, s.key)
	_, _ = io.WriteString(h, text)
	return h.Sum(nil)
}

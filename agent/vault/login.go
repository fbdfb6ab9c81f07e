package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/cache/secret"
)

// The calls of this file carry no token.

// A LoginRequest logs in by password, as userpass, ldap, radius and okta do.
type LoginRequest struct {
	Path      string        // without /v1/, such as auth/userpass/login/alice
	Namespace string        // "" sends no header
	Password  secret.Secret // in the body only
}

// Login logs in. It blocks, sends once and answers as [Client.Mint] does. Vault
// answers a held login by 200 with an MFA requirement (see mfa.Parse); [Node] of
// that answer is where it is held.
func (c *Client) Login(ctx context.Context, r LoginRequest) (*http.Response, error) {
	return c.hand(ctx, call{
		method: http.MethodPost, path: r.Path, namespace: r.Namespace,
		body: map[string]any{"password": r.Password.Reveal()},
	})
}

// Node is scheme://host of what answered, after redirects. See mfa.Challenge.
func Node(resp *http.Response) string {
	if resp.Request == nil || resp.Request.URL == nil {
		return ""
	}
	return resp.Request.URL.Scheme + "://" + resp.Request.URL.Host
}

// Validate answers the held login of ch: payload maps a method's ID to its
// passcodes; an empty list starts a push. It blocks, sends once and answers as
// [Client.Mint] does.
//
// The call goes to ch.Node when that is within the trust of the configured
// address, because a held login lives in the memory of the node that made it.
func (c *Client) Validate(ctx context.Context, ch mfa.Challenge, payload map[string][]string) (*http.Response, error) {
	factors := make(map[string][]string, len(payload))
	for method, codes := range payload {
		if len(codes) == 0 {
			codes = []string{""} // null would be "absent"; Vault's own client sends one empty string
		}
		factors[method] = codes
	}
	return c.hand(ctx, call{
		method: http.MethodPost, node: ch.Node, path: "sys/mfa/validate", namespace: ch.Namespace, wrapTTL: ch.WrapTTL,
		body: map[string]any{"mfa_request_id": ch.RequestID, "mfa_payload": factors},
	})
}

// ErrEnrolled means that the person has a secret for the method already. Vault makes
// no second one.
var ErrEnrolled = errors.New("there is a secret for this method already")

// maxEnrolment bounds an answer that may hold a picture of any size that an
// administrator chose; Vault's default of 200 pixels makes 2 KiB of it.
const maxEnrolment = 1 << 20

// SelfEnrol asks Vault Enterprise (1.21 or later) for a new TOTP secret for the
// person of a held login, which has offered it. Like a validate it goes to the node
// that holds the login. ErrEnrolled means that there is one already, a [StatusError]
// that Vault refused. At most 20 s.
//
// The picture in the answer is ignored: a hostile server must not reach a decoder of
// pictures, and ours is drawn from the URL.
func (c *Client) SelfEnrol(ctx context.Context, ch mfa.Challenge, method string) (Enrolment, error) {
	const path = "identity/mfa/method/totp/self-enroll"
	body, err := c.do(ctx, call{
		limit: onceTimeout, method: http.MethodPost, node: ch.Node, path: path, namespace: ch.Namespace,
		body: map[string]any{"mfa_method_id": method, "mfa_request_id": ch.RequestID},
	})
	if err != nil {
		return Enrolment{}, err
	}
	e, err := parseEnrolment(body)
	if err != nil {
		return Enrolment{}, fmt.Errorf("vault %q: the answer of %s: %w", c.name, path, err)
	}
	return e, nil
}

// parseEnrolment reads data.url. Where there is a secret already, Vault answers 200
// without data and with a warning (vault/login_mfa.go, handleMFAGenerateTOTP).
func parseEnrolment(body []byte) (Enrolment, error) {
	if len(body) > maxEnrolment {
		return Enrolment{}, fmt.Errorf("larger than %d bytes", maxEnrolment)
	}
	var answer struct {
		Data struct {
			URL secret.Secret `json:"url"`
		} `json:"data"`
		Warnings []string `json:"warnings"`
	}
	if json.Unmarshal(body, &answer) != nil { // its error may quote the body
		return Enrolment{}, errors.New("not Vault's JSON")
	}
	if answer.Data.URL != "" {
		return parseOTPAuth(answer.Data.URL)
	}
	for _, warning := range answer.Warnings {
		if strings.Contains(warning, "already has a secret") {
			return Enrolment{}, ErrEnrolled
		}
	}
	return Enrolment{}, errors.New("without a secret")
}

// A NumberRequest names a login at an Okta mount that waits for its number challenge.
type NumberRequest struct {
	Mount     string // without /v1/, such as auth/okta
	Nonce     string // the login's own
	Namespace string // "" sends no header
	Node      string // scheme://host that has the login; "" means the configured address
}

// OktaNumber returns the number that the person has to tap on the phone; known is
// false as long as Okta has shown none. Vault's own client asks in the same way
// (builtin/credential/okta, pathVerify). At most 5 s.
func (c *Client) OktaNumber(ctx context.Context, r NumberRequest) (number string, known bool, err error) {
	body, err := c.do(ctx, call{
		limit: probeTimeout, method: http.MethodGet, node: r.Node, path: r.Mount + "/verify/" + r.Nonce, namespace: r.Namespace,
	})
	if refusal, ok := errors.AsType[*StatusError](err); ok && refusal.Status == http.StatusNotFound {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	number, ok := parseNumber(body)
	if !ok {
		return "", false, c.notVaults(r.Mount + "/verify")
	}
	return number, true, nil
}

// maxNumber is more digits than any challenge has; Okta's have two.
const maxNumber = 6

// parseNumber takes nothing but a few digits, because they are shown to the person.
func parseNumber(body []byte) (string, bool) {
	answer, err := api.ParseSecret(bytes.NewReader(body))
	if err != nil || answer == nil {
		return "", false
	}
	number, ok := answer.Data["correct_answer"].(json.Number)
	text := number.String()
	return text, ok && text != "" && len(text) <= maxNumber && digitsOnly(text)
}

// AuthMounts returns the auth methods with listing_visibility = "unauth", which Vault's login
// page offers, by their paths. It sends no token. At most 5 s.
func (c *Client) AuthMounts(ctx context.Context, namespace string) ([]AuthMount, error) {
	body, err := c.do(ctx, call{limit: probeTimeout, method: http.MethodGet, path: "sys/internal/ui/mounts", namespace: namespace})
	if err != nil {
		return nil, err
	}
	mounts, ok := parseAuthMounts(body)
	if !ok {
		return nil, c.notVaults("sys/internal/ui/mounts")
	}
	return mounts, nil
}

// Health is the state that Vault reports.
type Health struct {
	Version     string
	Initialized bool
	Sealed      bool
	Standby     bool          // a performance standby too
	Skew        time.Duration // Vault's clock less ours, good to a second; codes fail from about 30 s on
}

// ErrSpeaksTLS means that what answers at an http address wants https.
var ErrSpeaksTLS = errors.New("it speaks https, not http")

// Health asks for the state of Vault. Every status is an answer, because sys/health
// says "sealed" and "standby" by status. An error means that there was no answer, or
// one that is not Vault's. At most 5 s.
func (c *Client) Health(ctx context.Context) (Health, error) {
	started := time.Now()
	status, body, err := c.exchange(ctx, call{limit: probeTimeout, method: http.MethodGet, path: "sys/health"})
	if err != nil {
		return Health{}, err
	}
	received := time.Now()
	// net/http, and nginx, to a request without TLS.
	if text := string(body); status == http.StatusBadRequest && (strings.Contains(text, "HTTP request to an HTTPS server") || strings.Contains(text, "HTTP request was sent to HTTPS port")) {
		return Health{}, ErrSpeaksTLS
	}
	var h api.HealthResponse
	if err := json.Unmarshal(body, &h); err != nil || h.ServerTimeUTC == 0 {
		return Health{}, fmt.Errorf("vault %q: sys/health answered %d, but not as Vault does", c.name, status)
	}
	return Health{
		Version:     h.Version,
		Initialized: h.Initialized,
		Sealed:      h.Sealed,
		Standby:     h.Standby || h.PerformanceStandby,
		Skew:        skew(h.ServerTimeUTC, started, received),
	}, nil
}

// skew compares Vault's clock with the middle of the exchange on ours. Vault rounds
// its time down to whole seconds.
func skew(server int64, started, received time.Time) time.Duration {
	ours := started.Add(received.Sub(started) / 2).Round(0)
	theirs := time.Unix(server, 0).Add(500 * time.Millisecond)
	return theirs.Sub(ours).Round(time.Second)
}

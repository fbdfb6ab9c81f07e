// Package vault is the calls that we make to Vault ourselves: answering a
// held login, minting a token, logging in, asking what a token may do, unwrapping,
// looking up and revoking a token, health. It also makes the transport that these calls and the relay
// share, so that both trust the same servers.
//
// The words and shapes are those of hashicorp/vault/api, but not its Client:
// api.NewClient always reads the VAULT_* environment, which in a shell that uses
// stepup points at stepup itself, and it fails as a whole on one malformed
// variable (a VAULT_CACERT that is gone is enough). Nothing here reads any of
// it, except the forward proxy of [NewTransport].
package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/cache/secret"
)

// How long our own calls may take. Vault's limit for one request is 90 s
// (DefaultMaxRequestDuration); a push may use all of it.
const (
	pushTimeout  = 150 * time.Second
	probeTimeout = 5 * time.Second
	// Unwrapping uses a single-use token up and revoking is worth waiting for:
	// giving up early costs more there than a probe that is asked again.
	onceTimeout = 20 * time.Second
)

// Config is how to reach one Vault.
type Config struct {
	Name      string            // name of the vault block, for errors
	Address   *url.URL          // http, https or unix; a base path is kept
	Transport http.RoundTripper // from [NewTransport], shared with the relay
	Timeout   time.Duration     // limit of Validate, Mint and Login; zero means 150 s
}

// A Client calls one Vault. It is safe for concurrent use, holds no token and
// repeats nothing: a repeated validate is a second push.
type Client struct {
	name    string
	base    *url.URL
	local   bool // a unix socket: there are no other nodes
	timeout time.Duration
	http    *http.Client
}

// New returns a client for the Vault at cfg.Address. It connects to nothing.
func New(cfg Config) (*Client, error) {
	if cfg.Transport == nil {
		return nil, errors.New("upstream client needs a transport")
	}
	if err := checkAddress(cfg.Address); err != nil {
		return nil, fmt.Errorf("vault %q: %w", cfg.Name, err)
	}
	base, socket := Base(cfg.Address)
	timeout := cfg.Timeout
	if timeout == 0 {
		timeout = pushTimeout
	}
	return &Client{
		name:    cfg.Name,
		base:    base,
		local:   socket != "",
		timeout: timeout,
		http: &http.Client{
			Transport: cfg.Transport,
			// Redirects are followed by send, which knows whom we trust.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Base splits an upstream address into the URL that requests are made for and
// the path of the unix socket that they go to, "" where there is none. The
// base of unix:///path is http://localhost, as in Vault's own clients.
func Base(address *url.URL) (base *url.URL, socket string) {
	if address.Scheme != "unix" {
		b := *address
		return &b, ""
	}
	return &url.URL{Scheme: "http", Host: "localhost"}, address.Path
}

// Validate answers the held login of ch: payload maps a method's ID to its
// passcodes; an empty list starts a push. It blocks until Vault has decided (up
// to Config.Timeout), ctx ends, or Vault cannot be reached, and sends the
// request once. The answer is Vault's own, of any status, its body unread; the
// caller closes it. An error means that there is no answer of Vault.
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
	return c.raw(ctx, c.node(ch.Node), call{
		method:    http.MethodPost,
		path:      "sys/mfa/validate",
		namespace: ch.Namespace,
		wrapTTL:   ch.WrapTTL,
		body:      map[string]any{"mfa_request_id": ch.RequestID, "mfa_payload": factors},
	})
}

// Capabilities returns what the token may do at path (without /v1/), in Vault's
// capability words. It never sees mfa_methods. At most 5 s.
func (c *Client) Capabilities(ctx context.Context, token secret.Secret, namespace, path string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	secret, err := c.secret(ctx, call{
		method:    http.MethodPost,
		path:      "sys/capabilities-self",
		namespace: namespace,
		Token:     token,
		body:      map[string]any{"paths": []string{path}},
	})
	if err != nil {
		return nil, err
	}
	for _, key := range []string{path, "capabilities"} {
		if words, ok := stringList(secret.Data[key]); ok {
			return words, nil
		}
	}
	return nil, fmt.Errorf("sys/capabilities-self of vault %q says nothing about the path", c.name)
}

// Unwrap returns the JSON of the response that token wraps, and uses the token
// up. It is nil when the wrapped response has no body. At most 20 s.
func (c *Client) Unwrap(ctx context.Context, token secret.Secret, namespace string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, onceTimeout)
	defer cancel()
	return c.do(ctx, call{
		method:    http.MethodPost,
		path:      "sys/wrapping/unwrap",
		namespace: namespace,
		Token:     token,
	})
}

// A TokenInfo is what Vault knows of a token.
type TokenInfo struct {
	Accessor string
	EntityID string
	Path     string // where it was made, such as auth/okta/login/alice
	Policies []string
	TTL      time.Duration // zero means that it does not end
	Uses     int           // left; zero means no limit
}

// LookupSelf returns what Vault knows of the token. A [StatusError] with status
// 403 means that the token is dead, or that no policy of it allows the question;
// its Errors tell. At most 5 s.
func (c *Client) LookupSelf(ctx context.Context, token secret.Secret, namespace string) (TokenInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	secret, err := c.secret(ctx, call{
		method:    http.MethodGet,
		path:      "auth/token/lookup-self",
		namespace: namespace,
		Token:     token,
	})
	if err != nil {
		return TokenInfo{}, err
	}
	return tokenInfo(secret)
}

// RevokeSelf ends the token at Vault, with everything that was leased with it.
// At most 20 s.
func (c *Client) RevokeSelf(ctx context.Context, token secret.Secret, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, onceTimeout)
	defer cancel()
	_, err := c.do(ctx, call{
		method:    http.MethodPost,
		path:      "auth/token/revoke-self",
		namespace: namespace,
		Token:     token,
	})
	return err
}

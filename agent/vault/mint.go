package vault

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A MintRequest asks for a token on a path that a policy guards with MFA. What
// is zero is not sent: a policy with allowed_parameters refuses a request that
// carries so much as an empty display_name, which is what api.TokenCreateRequest
// always does.
type MintRequest struct {
	Path        string           // without /v1/, such as auth/token/create/prod-stepup
	Namespace   string           // "" sends no header
	Token       secret.Secret    // the caller's own; the new token is its child
	Credentials []mfa.Credential // one X-Vault-MFA line each; none starts what the policy pushes
	Policies    []string         // none leaves them to the path
	TTL         time.Duration    // rounded up to whole seconds; zero leaves it to the path
	NumUses     int              // zero means no limit
	NoParent    bool             // an orphan, that outlives the caller's token
}

// Format implements fmt.Formatter, so that no passcode is printed.
func (r MintRequest) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "mint at %q", r.Path) }

func (r MintRequest) body() map[string]any {
	body := make(map[string]any)
	if len(r.Policies) > 0 {
		body["policies"] = r.Policies
	}
	if r.TTL > 0 {
		body["ttl"] = strconv.FormatInt(int64((r.TTL+time.Second-1)/time.Second), 10) + "s"
	}
	if r.NumUses > 0 {
		body["num_uses"] = r.NumUses
	}
	if r.NoParent {
		body["no_parent"] = true
	}
	return body
}

// Mint asks for a token. It blocks until Vault has decided (a push may use all of
// Config.Timeout), ctx ends, or Vault cannot be reached, and sends the request
// once: a second one is a second push, or a second token. The answer is Vault's
// own, of any status, its body unread; the caller closes it. An error means that
// there is no answer of Vault.
func (c *Client) Mint(ctx context.Context, r MintRequest) (*http.Response, error) {
	return c.raw(ctx, c.base, call{
		method:      http.MethodPost,
		path:        r.Path,
		namespace:   r.Namespace,
		Token:       r.Token,
		credentials: r.Credentials,
		body:        r.body(),
	})
}

// A LoginRequest logs in by password, as userpass, ldap, radius and okta do.
type LoginRequest struct {
	Path      string        // without /v1/, such as auth/userpass/login/alice
	Namespace string        // "" sends no header
	Password  secret.Secret // in the body only
}

// Login logs in, without a token. For blocking, repetition and the answer what
// [Client.Mint] says holds. A held login answers 200 with an MFA requirement
// (see mfa.Parse); [Node] of the answer is where it is held.
func (c *Client) Login(ctx context.Context, r LoginRequest) (*http.Response, error) {
	return c.raw(ctx, c.base, call{
		method:    http.MethodPost,
		path:      r.Path,
		namespace: r.Namespace,
		body:      map[string]any{"password": r.Password.Reveal()},
	})
}

// raw makes the call at base, within Config.Timeout, and gives Vault's answer as
// it is.
func (c *Client) raw(ctx context.Context, base *url.URL, k call) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	resp, err := c.send(ctx, base, k)
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = &cancelBody{ReadCloser: resp.Body, cancel: cancel}
	return resp, nil
}

// Index is the state that Vault had reached when it made the answer, "" when it
// does not tell (community Vault). On a following request, as X-Vault-Index, it
// keeps a standby from answering before it knows a token that was just made.
func Index(resp *http.Response) string { return resp.Header.Get("X-Vault-Index") }

// Node is scheme://host of what answered, after redirects. See mfa.Challenge.
func Node(resp *http.Response) string {
	if resp.Request == nil || resp.Request.URL == nil {
		return ""
	}
	return resp.Request.URL.Scheme + "://" + resp.Request.URL.Host
}

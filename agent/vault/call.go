package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/cache/secret"
)

const (
	maxBody      = 8 << 20 // no answer to our own calls comes near it
	maxRedirects = 3
)

// A call is one request of ours. Nothing but its fields goes into the headers.
type call struct {
	method    string
	path      string // without /v1/
	namespace string // "" sends no header
	wrapTTL   string // "" sends no header
	// Token is exported because fmt prints a field that is not without asking its
	// Format method, and so in clear.
	Token       secret.Secret
	credentials []mfa.Credential // one X-Vault-MFA line each
	body        any              // encoded as JSON; nil sends no body
}

// Format implements fmt.Formatter: credentials and body are plain text.
func (k call) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "%s %s", k.method, k.path) }

// send makes the call at base and follows redirects within the trust. The
// caller closes the body. Errors carry method, path and host, never a query,
// userinfo or token, and unwrap to the cause (a net.Error says Timeout).
func (c *Client) send(ctx context.Context, base *url.URL, k call) (*http.Response, error) {
	var body []byte
	if k.body != nil {
		var err error
		if body, err = json.Marshal(k.body); err != nil {
			return nil, fmt.Errorf("encode the body of %s: %w", k.path, err)
		}
	}
	target := base.JoinPath("v1", k.path)
	for range maxRedirects + 1 {
		resp, err := c.once(ctx, target, k, body)
		if err != nil {
			return nil, c.unreachable(target, k, err)
		}
		if resp.StatusCode < 300 || resp.StatusCode > 399 {
			return resp, nil
		}
		_ = resp.Body.Close()
		if target, err = c.redirect(target, resp); err != nil {
			return nil, c.unreachable(target, k, err)
		}
	}
	return nil, c.unreachable(target, k, errTooManyRedirects)
}

// once sends the call to target. That net/http may send a request again only
// when the server cannot have seen it rests on the method: none of ours with an
// effect is one that it regards as idempotent.
func (c *Client) once(ctx context.Context, target *url.URL, k call, body []byte) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target.String(), r)
	if err != nil {
		return nil, err
	}
	req.Header.Set(api.RequestHeaderName, "true")
	req.Header.Set("User-Agent", "stepup")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if k.namespace != "" {
		req.Header.Set(api.NamespaceHeaderName, k.namespace)
	}
	if k.wrapTTL != "" {
		req.Header.Set("X-Vault-Wrap-TTL", k.wrapTTL)
	}
	if k.Token != "" {
		req.Header.Set(api.AuthHeaderName, k.Token.Reveal())
	}
	for _, credential := range k.credentials {
		req.Header.Add("X-Vault-MFA", credential.Header())
	}
	return c.http.Do(req)
}

var (
	errTooManyRedirects = errors.New("too many redirects")
	errRedirect         = errors.New("redirect is not followed")
)

// redirect is where resp sends a request for from. Only 307 and 308 keep method
// and body. https never leads to http, where a listener would read the token.
func (c *Client) redirect(from *url.URL, resp *http.Response) (*url.URL, error) {
	to, err := resp.Location()
	if err != nil {
		return from, fmt.Errorf("%w: status %d without a usable location", errRedirect, resp.StatusCode)
	}
	if resp.StatusCode != http.StatusTemporaryRedirect && resp.StatusCode != http.StatusPermanentRedirect {
		return from, fmt.Errorf("%w: status %d", errRedirect, resp.StatusCode)
	}
	if !c.trusts(to) {
		return from, fmt.Errorf("%w: %q is outside the trust of the address", errRedirect, to.Scheme+"://"+to.Host)
	}
	to.User = nil
	return to, nil
}

// trusts reports whether the token and codes of this Vault may go to u: the
// transport checks an https server against the same authorities whatever its
// name; another scheme, or another host than that of a socket, is a stranger.
func (c *Client) trusts(u *url.URL) bool {
	if u.Scheme != c.base.Scheme || u.Host == "" {
		return false
	}
	return !c.local || u.Host == c.base.Host
}

// node is the base of the node that answered a login, or the configured one.
func (c *Client) node(node string) *url.URL {
	u, err := url.Parse(node)
	if err != nil || node == "" || !c.trusts(u) || strings.EqualFold(u.Host, c.base.Host) {
		return c.base
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}
}

// unreachable drops the *url.Error of net/http, which prints the whole URL.
func (c *Client) unreachable(target *url.URL, k call, err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return fmt.Errorf("vault %q: %s %s at %s://%s: %w", c.name, k.method, k.path, target.Scheme, target.Host, err)
}

// do makes the call and returns the body of a 2xx answer, nil when it has none.
// Any other answer is a *StatusError.
func (c *Client) do(ctx context.Context, k call) ([]byte, error) {
	resp, err := c.send(ctx, c.base, k)
	if err != nil {
		return nil, err
	}
	body, err := c.read(resp)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode > 299 {
		return nil, newStatusError(resp.StatusCode, body, k.Token)
	}
	if len(body) == 0 {
		return nil, nil
	}
	return body, nil
}

// secret makes the call and parses Vault's envelope.
func (c *Client) secret(ctx context.Context, k call) (*api.Secret, error) {
	body, err := c.do(ctx, k)
	if err != nil {
		return nil, err
	}
	secret, err := api.ParseSecret(bytes.NewReader(body))
	if err != nil || secret == nil || secret.Data == nil {
		return nil, fmt.Errorf("vault %q: the answer of %s is not Vault's", c.name, k.path)
	}
	return secret, nil
}

// read takes the whole body and closes it.
func (c *Client) read(resp *http.Response) ([]byte, error) {
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("vault %q: read the answer: %w", c.name, err)
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("vault %q: the answer is larger than %d bytes", c.name, maxBody)
	}
	return body, nil
}

// cancelBody ends the limit of a call together with its body.
type cancelBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *cancelBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

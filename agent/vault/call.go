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
	"time"
	"unicode"

	"github.com/hashicorp/vault/api"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/cache/secret"
)

const (
	maxBody      = 8 << 20 // no answer to our own calls comes near it
	maxRedirects = 3
	maxErrorText = 300
)

// How long our own calls may take. Vault's limit for one request is 90 s
// (DefaultMaxRequestDuration); a push may use all of it.
const (
	pushTimeout  = 150 * time.Second
	probeTimeout = 5 * time.Second
	// Unwrapping uses up a single-use token, and a token that is not revoked stays
	// valid: giving up early costs more there than with a probe.
	onceTimeout = 20 * time.Second
)

// A call is one request of ours. Nothing but its fields goes into the headers.
type call struct {
	limit     time.Duration // of do: until the answer has been read
	method    string
	node      string // scheme://host that is to answer, within the trust; "" means the configured address
	path      string // without /v1/
	namespace string // "" sends no header
	wrapTTL   string // "" sends no header
	// Token is exported because fmt ignores the Format method of an unexported field
	// and would print it in clear.
	Token       secret.Secret
	credentials []mfa.Credential // one X-Vault-MFA line each
	body        any              // encoded as JSON; nil sends no body
}

// Format implements fmt.Formatter: credentials and body are plain text.
func (k call) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "%s %s", k.method, k.path) }

// do makes the call and returns the body of a 2xx answer, nil when it has none.
// Any other answer is a *StatusError.
func (c *Client) do(ctx context.Context, k call) ([]byte, error) {
	status, body, err := c.exchange(ctx, k)
	switch {
	case err != nil:
		return nil, err
	case status > 299:
		return nil, newStatusError(status, body, k.Token)
	case len(body) == 0:
		return nil, nil
	}
	return body, nil
}

// exchange makes the call within its limit and returns the whole answer, of any status.
func (c *Client) exchange(ctx context.Context, k call) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, k.limit)
	defer cancel()
	resp, err := c.send(ctx, k)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return 0, nil, fmt.Errorf("vault %q: read the answer: %w", c.name, err)
	}
	if len(body) > maxBody {
		return 0, nil, fmt.Errorf("vault %q: the answer is larger than %d bytes", c.name, maxBody)
	}
	return resp.StatusCode, body, nil
}

// hand makes the call within Config.Timeout and hands Vault's answer on as it is,
// of any status. The caller closes the body, which ends the limit.
func (c *Client) hand(ctx context.Context, k call) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	resp, err := c.send(ctx, k)
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = CancelOnClose(resp.Body, cancel)
	return resp, nil
}

// CancelOnClose returns a body whose Close also ends the context of its call.
func CancelOnClose(body io.ReadCloser, cancel context.CancelFunc) io.ReadCloser {
	return &cancelBody{ReadCloser: body, cancel: cancel}
}

type cancelBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *cancelBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// send makes the call and follows redirects within the trust. The caller closes
// the body. Errors carry method, path and host, never a query, userinfo or token,
// and unwrap to the cause (a net.Error says Timeout).
func (c *Client) send(ctx context.Context, k call) (*http.Response, error) {
	var body []byte
	if k.body != nil {
		var err error
		if body, err = json.Marshal(k.body); err != nil {
			return nil, fmt.Errorf("encode the body of %s: %w", k.path, err)
		}
	}
	target := c.node(k.node).JoinPath("v1", k.path)
	for range maxRedirects + 1 {
		req, err := k.request(ctx, target, body)
		if err != nil {
			return nil, c.unreachable(target, k, err)
		}
		resp, err := c.http.Do(req)
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

// request is the call as it goes to target. net/http repeats a request that the server
// may have seen only where its method is idempotent: none of ours with an effect is.
func (k call) request(ctx context.Context, target *url.URL, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, k.method, target.String(), bytes.NewReader(body))
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
	return req, nil
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
		return from, fmt.Errorf("%w: %q is not trusted as the configured address is", errRedirect, to.Scheme+"://"+to.Host)
	}
	to.User = nil
	return to, nil
}

// trusts reports whether the token and codes of this Vault may go to u: the
// transport checks an https server against the same authorities whatever its
// name; another scheme, or another host than that of a socket, is a stranger.
func (c *Client) trusts(u *url.URL) bool {
	return u.Scheme == c.base.Scheme && u.Host != "" && (!c.local || u.Host == c.base.Host)
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

// notVaults is the error for a 2xx answer that Vault would not give to path.
func (c *Client) notVaults(path string) error {
	return fmt.Errorf("vault %q: the answer of %s is not Vault's", c.name, path)
}

// A StatusError is an answer of Vault other than 2xx.
type StatusError struct {
	Status int
	Errors []string // Vault's own, as sent; empty when the body was not Vault's JSON
}

// newStatusError reads the errors of an answer. Something between us and Vault
// may echo our request in its error page, so the token is cut out of it.
func newStatusError(status int, body []byte, token secret.Secret) *StatusError {
	e := &StatusError{Status: status, Errors: mfa.Errors(body)}
	for i, text := range e.Errors {
		if token == "" {
			break
		}
		e.Errors[i] = strings.ReplaceAll(text, token.Reveal(), fmt.Sprint(token))
		if strings.Contains(e.Errors[i], token.Reveal()) { // made up by what stands in its place
			e.Errors[i] = fmt.Sprint(token)
		}
	}
	return e
}

// Error returns one printable line. Vault's texts are several lines with tabs, and
// the server must not reach a terminal with escape sequences through them.
func (e *StatusError) Error() string {
	text := strings.Join(strings.Fields(strings.Join(e.Errors, "; ")), " ")
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	if text == "" {
		return fmt.Sprintf("vault answered %d", e.Status)
	}
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "") + "…"
	}
	return fmt.Sprintf("vault answered %d: %s", e.Status, text)
}

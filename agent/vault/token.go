package vault

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/cache/secret"
)

// Capabilities returns what the token may do at path (without /v1/), in Vault's
// capability words. It never sees mfa_methods. At most 5 s.
func (c *Client) Capabilities(ctx context.Context, token secret.Secret, namespace, path string) ([]string, error) {
	body, err := c.do(ctx, call{
		limit: probeTimeout, method: http.MethodPost, path: "sys/capabilities-self", namespace: namespace, Token: token,
		body: map[string]any{"paths": []string{path}},
	})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	_ = json.Unmarshal(body, &answer) // what is no JSON says nothing about the path
	for _, key := range []string{path, "capabilities"} {
		var words []string
		if json.Unmarshal(answer.Data[key], &words) == nil && words != nil {
			return words, nil
		}
	}
	return nil, fmt.Errorf("sys/capabilities-self of vault %q says nothing about the path", c.name)
}

// WhyUnknown says, by the error of [Client.Capabilities], why Vault does not tell what a token may do.
func WhyUnknown(err error) string {
	refused, ok := errors.AsType[*StatusError](err)
	if !ok || refused.Status != http.StatusForbidden {
		return err.Error()
	}
	if slices.ContainsFunc(refused.Errors, func(text string) bool { return strings.Contains(text, "invalid token") }) {
		return "it does not know this token, which has ended, was revoked or is mistyped: log in again"
	}
	// OpenBao says the same of a dead token and of a missing policy.
	return "it does not know this token (log in again), or no policy of it allows sys/capabilities-self"
}

// A TokenInfo is what Vault knows of a token.
type TokenInfo struct {
	Accessor string
	EntityID string
	Path     string // where it was made, such as auth/okta/login/alice
	Policies []string
	TTL      time.Duration // zero means that it does not end
	Uses     int           // left; zero means no limit, less that the question was the last one
}

// LookupSelf returns what Vault knows of the token. A [StatusError] with status
// 403 means that the token is dead, or that no policy of it allows the question:
// its Errors tell which. At most 5 s.
func (c *Client) LookupSelf(ctx context.Context, token secret.Secret, namespace string) (TokenInfo, error) {
	const path = "auth/token/lookup-self"
	body, err := c.do(ctx, call{limit: probeTimeout, method: http.MethodGet, path: path, namespace: namespace, Token: token})
	if err != nil {
		return TokenInfo{}, err
	}
	answer, err := api.ParseSecret(bytes.NewReader(body))
	if err != nil || answer == nil || answer.Data == nil {
		return TokenInfo{}, c.notVaults(path)
	}
	var (
		info TokenInfo
		errs [4]error
	)
	info.Accessor, errs[0] = answer.TokenAccessor()
	info.Policies, errs[1] = answer.TokenPolicies()
	info.TTL, errs[2] = answer.TokenTTL()
	if answer.Data["num_uses"] != nil { // else TokenRemainingUses returns -1, which Vault says of a last use
		info.Uses, errs[3] = answer.TokenRemainingUses()
	}
	info.EntityID, _ = answer.Data["entity_id"].(string)
	info.Path, _ = answer.Data["path"].(string)
	if err := errors.Join(errs[:]...); err != nil {
		return TokenInfo{}, fmt.Errorf("answer of lookup-self: %w", err)
	}
	return info, nil
}

// RevokeSelf ends the token at Vault, with everything that was leased with it.
// At most 20 s.
func (c *Client) RevokeSelf(ctx context.Context, token secret.Secret, namespace string) error {
	_, err := c.do(ctx, call{
		limit: onceTimeout, method: http.MethodPost, path: "auth/token/revoke-self", namespace: namespace, Token: token,
	})
	return err
}

// Unwrap returns the JSON of the response that token wraps, and uses the token
// up. It is nil when the wrapped response has no body. At most 20 s.
func (c *Client) Unwrap(ctx context.Context, token secret.Secret, namespace string) ([]byte, error) {
	return c.do(ctx, call{
		limit: onceTimeout, method: http.MethodPost, path: "sys/wrapping/unwrap", namespace: namespace, Token: token,
	})
}

// ControlGroup asks how far the approval of a request has come. The accessor is that
// of its wrapping token, the token the caller's own: the policy "default" allows the
// question. Asking uses nothing up. A [StatusError] means that the accessor belongs
// to no control group, or that the wrapping token is gone. At most 5 s.
func (c *Client) ControlGroup(ctx context.Context, token secret.Secret, namespace, accessor string) (mfa.GroupState, error) {
	const path = "sys/control-group/request"
	body, err := c.do(ctx, call{
		limit: probeTimeout, method: http.MethodPost, path: path, namespace: namespace, Token: token,
		body: map[string]any{"accessor": accessor},
	})
	if err != nil {
		return mfa.GroupState{}, err
	}
	state, ok := mfa.ParseGroupState(body)
	if !ok {
		return mfa.GroupState{}, c.notVaults(path)
	}
	return state, nil
}

// A Held is an answer that waits behind a wrapping token.
type Held struct {
	Caller    secret.Secret // made the request: Vault gives the answer to no other token
	Wrapping  secret.Secret // in the body: as the token of the call, too, it would be used up twice
	Namespace string
}

// Release gets the answer of a request that has been approved; Vault may carry
// the request out only now. It blocks, sends once and answers as [Client.Mint] does.
// Where approvals are missing, Vault refuses and keeps the wrapping token.
func (c *Client) Release(ctx context.Context, h Held) (*http.Response, error) {
	return c.hand(ctx, call{
		method: http.MethodPost, path: "sys/wrapping/unwrap", namespace: h.Namespace, Token: h.Caller,
		body: map[string]any{"token": h.Wrapping.Reveal()},
	})
}

// A MintRequest asks for a token on a path that a policy guards with MFA. Zero
// fields are not sent: a policy with allowed_parameters refuses even an empty
// display_name, which api.TokenCreateRequest always sends.
type MintRequest struct {
	Path        string           // without /v1/, such as auth/token/create/prod-stepup
	Namespace   string           // "" sends no header
	Token       secret.Secret    // the caller's own; the new token is its child
	Credentials []mfa.Credential // one X-Vault-MFA line each; without any the policy pushes
	Policies    []string         // none leaves them to the path
	TTL         time.Duration    // rounded up to whole seconds; zero leaves it to the path
	NumUses     int              // zero means no limit
	NoParent    bool             // an orphan, that outlives the caller's token
}

// Format implements fmt.Formatter, so that no passcode is printed.
func (r MintRequest) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "mint at %q", r.Path) }

// Mint asks for a token. It blocks until Vault has decided (a push may use all of
// Config.Timeout), ctx ends, or Vault cannot be reached, and sends the request
// once: a second one is a second push, or a second token. The answer is Vault's
// own, of any status, its body unread; the caller closes it. An error means that
// there is no answer of Vault.
func (c *Client) Mint(ctx context.Context, r MintRequest) (*http.Response, error) {
	var body struct {
		NoParent bool     `json:"no_parent,omitempty"`
		NumUses  int      `json:"num_uses,omitempty"`
		Policies []string `json:"policies,omitempty"`
		TTL      string   `json:"ttl,omitempty"`
	}
	body.NoParent, body.NumUses, body.Policies = r.NoParent, max(r.NumUses, 0), r.Policies
	if r.TTL > 0 {
		body.TTL = strconv.FormatInt(int64((r.TTL+time.Second-1)/time.Second), 10) + "s"
	}
	return c.hand(ctx, call{
		method: http.MethodPost, path: r.Path, namespace: r.Namespace, Token: r.Token,
		credentials: r.Credentials, body: body,
	})
}

// Index is the state that Vault had reached when it made the answer, "" when it
// does not tell (community Vault). On a following request, as X-Vault-Index, it
// keeps a standby from answering before it knows a token that was just made.
func Index(resp *http.Response) string { return resp.Header.Get(api.HeaderIndex) }

// An Auth is a token that Vault gave out.
type Auth struct {
	Token     secret.Secret
	Accessor  string        // "" for a batch token
	EntityID  string        // "" where there is none
	TTL       time.Duration // zero means that it does not end
	Uses      int           // zero means no limit
	Renewable bool
}

// maxLease keeps a lease in seconds within a time.Duration.
const maxLease = int64(1<<63-1) / int64(time.Second)

// ParseAuth reads the answer of a mint or a login. A body without a token, a
// held login and a wrapped answer included, is an error, and so is a token that
// could not be sent in a header. Errors quote nothing of the body.
func ParseAuth(body []byte) (Auth, error) {
	answer, err := api.ParseSecret(bytes.NewReader(body))
	if err != nil {
		return Auth{}, errors.New("answer is not Vault's JSON") // err may quote it
	}
	if answer == nil || answer.Auth == nil || answer.Auth.ClientToken == "" {
		return Auth{}, errors.New("answer of Vault has no token")
	}
	// api.SecretAuth leaves out num_uses.
	var more struct {
		Auth struct {
			NumUses int `json:"num_uses"`
		} `json:"auth"`
	}
	if json.Unmarshal(body, &more) != nil {
		return Auth{}, errors.New("answer of Vault has malformed uses")
	}
	lease, uses := int64(answer.Auth.LeaseDuration), more.Auth.NumUses
	if lease < 0 || lease > maxLease || uses < 0 {
		return Auth{}, fmt.Errorf("answer of Vault has impossible limits: lease %d, uses %d", lease, uses)
	}
	// Printable ASCII only: a line break in it would be a header of its own.
	if strings.ContainsFunc(answer.Auth.ClientToken, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Auth{}, errors.New("token in Vault's answer has characters that no token has")
	}
	return Auth{
		Token:     secret.Secret(answer.Auth.ClientToken),
		Accessor:  answer.Auth.Accessor,
		EntityID:  answer.Auth.EntityID,
		TTL:       time.Duration(lease) * time.Second,
		Uses:      uses,
		Renewable: answer.Auth.Renewable,
	}, nil
}

// List lists what is below a path (without /v1/). Where there is nothing, the listing is
// empty. At most 5 s.
func (c *Client) List(ctx context.Context, token secret.Secret, namespace, path string) (Listing, error) {
	var answer struct {
		Data struct {
			Keys []string                  `json:"keys"`
			Info map[string]map[string]any `json:"key_info"`
		} `json:"data"`
	}
	err := c.get(ctx, call{limit: probeTimeout, method: "LIST", path: path, namespace: namespace, Token: token}, &answer)
	if status := (*StatusError)(nil); errors.As(err, &status) && status.Status == http.StatusNotFound && len(status.Errors) == 0 {
		err = nil
	}
	return Listing{Keys: answer.Data.Keys, Info: answer.Data.Info}, err
}

// Read reads what is at a path (without /v1/). At most 5 s.
func (c *Client) Read(ctx context.Context, token secret.Secret, namespace, path string) (map[string]any, error) {
	var answer struct {
		Data map[string]any `json:"data"`
	}
	err := c.get(ctx, call{limit: probeTimeout, method: http.MethodGet, path: path, namespace: namespace, Token: token}, &answer)
	return answer.Data, err
}

// Mount returns the engine that a path (without /v1/) is in. Vault tells that to each token
// that may do something in the engine; to others it answers 403. No use of the token is
// spent. At most 5 s.
func (c *Client) Mount(ctx context.Context, token secret.Secret, namespace, path string) (Mount, error) {
	const table = "sys/internal/ui/mounts"
	at, ok := PathTo(table, strings.Trim(path, "/"))
	if !ok {
		return Mount{}, fmt.Errorf("%q is no path", path)
	}
	var answer struct {
		Data struct {
			Path    string            `json:"path"`
			Type    string            `json:"type"`
			Options map[string]string `json:"options"`
		} `json:"data"`
	}
	err := c.get(ctx, call{limit: probeTimeout, method: http.MethodGet, path: at, namespace: namespace, Token: token}, &answer)
	if err != nil {
		return Mount{}, err
	}
	m := Mount{Path: answer.Data.Path, Type: answer.Data.Type}
	if m.Path == "" || m.Type == "" {
		return Mount{}, c.notVaults(table)
	}
	if m.Type == "kv" || m.Type == "generic" {
		m.Version = cmp.Or(answer.Data.Options["version"], "1")
	}
	return m, nil
}

func (c *Client) get(ctx context.Context, k call, answer any) error {
	body, err := c.do(ctx, k)
	if err != nil {
		return err
	}
	if json.Unmarshal(body, answer) != nil {
		return c.notVaults(k.path)
	}
	return nil
}

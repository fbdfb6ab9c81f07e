package vault

import (
	"context"
	"fmt"
	"net/http"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/cache/secret"
)

// ControlGroup asks how far the approval has come of the request whose wrapping
// token has this accessor, with the caller's own token: the policy "default"
// allows it. Asking uses nothing up. A [StatusError] is Vault's no: the accessor
// is none of a control group, or the wrapping token is gone. At most 5 s.
func (c *Client) ControlGroup(ctx context.Context, token secret.Secret, namespace, accessor string) (mfa.GroupState, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	const path = "sys/control-group/request"
	body, err := c.do(ctx, call{
		method:    http.MethodPost,
		path:      path,
		namespace: namespace,
		Token:     token,
		body:      map[string]any{"accessor": accessor},
	})
	if err != nil {
		return mfa.GroupState{}, err
	}
	state, ok := mfa.ParseGroupState(body)
	if !ok {
		return mfa.GroupState{}, fmt.Errorf("vault %q: the answer of %s is not Vault's", c.name, path)
	}
	return state, nil
}

// A Held is an answer that waits behind a wrapping token.
type Held struct {
	Caller    secret.Secret // whose request it was: Vault gives the answer to nobody else
	Wrapping  secret.Secret // in the body: as the token of the call, too, it would be used up twice
	Namespace string
}

// Release gets the answer of a request that has been approved; Vault may carry
// the request out only now. It blocks up to Config.Timeout and sends once. The
// answer is Vault's own, of any status, its body unread; the caller closes it.
// A refusal for want of approvals leaves the wrapping token as it is.
func (c *Client) Release(ctx context.Context, h Held) (*http.Response, error) {
	return c.raw(ctx, c.base, call{
		method:    http.MethodPost,
		path:      "sys/wrapping/unwrap",
		namespace: h.Namespace,
		Token:     h.Caller,
		body:      map[string]any{"token": h.Wrapping.Reveal()},
	})
}

package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/api"
)

// A NumberRequest asks for the number of a login at an Okta mount that is going on.
type NumberRequest struct {
	Mount     string // without /v1/, such as auth/okta
	Nonce     string // the login's own
	Namespace string // "" sends no header
	Node      string // scheme://host that has the login; "" means the configured address
}

// OktaNumber returns the number that the person has to tap on the phone; known is
// false as long as Okta has shown none. It asks without a token, as Vault's own
// client does (builtin/credential/okta, pathVerify). At most 5 s.
func (c *Client) OktaNumber(ctx context.Context, r NumberRequest) (number string, known bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	resp, err := c.send(ctx, c.node(r.Node), call{
		method:    http.MethodGet,
		path:      r.Mount + "/verify/" + r.Nonce,
		namespace: r.Namespace,
	})
	if err != nil {
		return "", false, err
	}
	body, err := c.read(resp)
	switch {
	case err != nil:
		return "", false, err
	case resp.StatusCode == http.StatusNotFound:
		return "", false, nil
	case resp.StatusCode > 299:
		return "", false, newStatusError(resp.StatusCode, body, "")
	}
	number, ok := parseNumber(body)
	if !ok {
		return "", false, fmt.Errorf("vault %q: the answer of %s/verify is not Vault's", c.name, r.Mount)
	}
	return number, true, nil
}

// maxNumber is more digits than any challenge has; Okta's have two.
const maxNumber = 6

// parseNumber takes nothing but a few digits: it is shown as large as anything.
func parseNumber(body []byte) (string, bool) {
	secret, err := api.ParseSecret(bytes.NewReader(body))
	if err != nil || secret == nil {
		return "", false
	}
	number, ok := secret.Data["correct_answer"].(json.Number)
	text := number.String()
	if !ok || text == "" || len(text) > maxNumber || strings.Trim(text, "0123456789") != "" {
		return "", false
	}
	return text, true
}

package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"github.com/hashicorp/vault/api"

	"github.com/vault-stepup/stepup/cache/secret"
)

const maxErrorText = 300

// A StatusError is an answer of Vault other than 2xx.
type StatusError struct {
	Status int
	Errors []string // Vault's own, as sent; empty when the body was not Vault's JSON
}

func (e *StatusError) Error() string {
	// Vault's texts are several lines with tabs; ours is one, and whoever answered
	// must not reach a terminal with escape sequences through it.
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

// newStatusError reads the errors of an answer. Something between us and Vault
// may echo our request in its error page, so the token is cut out of it.
func newStatusError(status int, body []byte, token secret.Secret) *StatusError {
	e := &StatusError{Status: status}
	var answer api.ErrorResponse
	if json.Unmarshal(body, &answer) != nil {
		return e
	}
	for _, text := range answer.Errors {
		if token != "" {
			text = strings.ReplaceAll(text, token.Reveal(), fmt.Sprint(token))
		}
		e.Errors = append(e.Errors, text)
	}
	return e
}

// tokenInfo reads the answer of lookup-self.
func tokenInfo(secret *api.Secret) (TokenInfo, error) {
	var (
		info TokenInfo
		errs [4]error
	)
	info.Accessor, errs[0] = secret.TokenAccessor()
	info.Policies, errs[1] = secret.TokenPolicies()
	info.TTL, errs[2] = secret.TokenTTL()
	info.EntityID, _ = secret.Data["entity_id"].(string)
	info.Path, _ = secret.Data["path"].(string)
	if uses, ok := secret.Data["num_uses"].(json.Number); ok {
		var n int64
		n, errs[3] = uses.Int64()
		info.Uses = int(n)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return TokenInfo{}, fmt.Errorf("answer of lookup-self: %w", err)
	}
	return info, nil
}

func stringList(v any) ([]string, bool) {
	list, ok := v.([]any)
	if !ok {
		return nil, false
	}
	words := make([]string, 0, len(list))
	for _, item := range list {
		word, ok := item.(string)
		if !ok {
			return nil, false
		}
		words = append(words, word)
	}
	return words, true
}

// checkAddress refuses what could not be a Vault.
func checkAddress(u *url.URL) error {
	switch {
	case u == nil:
		return errors.New("address is missing")
	case u.Scheme == "unix":
		if u.Path == "" || u.Host != "" {
			return errors.New("address of a unix socket must look like unix:///path")
		}
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("address must start with http, https or unix, not %q", u.Scheme)
	case u.Host == "":
		return errors.New("address has no host")
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return errors.New("address must have no query and no fragment")
	}
	return nil
}

package vault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vault-stepup/stepup/cache/secret"
)

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
	a := Auth{
		Token:     secret.Secret(answer.Auth.ClientToken),
		Accessor:  answer.Auth.Accessor,
		EntityID:  answer.Auth.EntityID,
		Uses:      more.Auth.NumUses,
		Renewable: answer.Auth.Renewable,
	}
	lease := int64(answer.Auth.LeaseDuration)
	if lease < 0 || lease > maxLease || a.Uses < 0 {
		return Auth{}, fmt.Errorf("answer of Vault has impossible limits: lease %d, uses %d", lease, a.Uses)
	}
	a.TTL = time.Duration(lease) * time.Second
	if !sendable(a.Token) {
		return Auth{}, errors.New("token in Vault's answer has characters that no token has")
	}
	return a, nil
}

// sendable reports whether every character of the token is printable ASCII: a
// line break in it would be a header of its own.
func sendable(token secret.Secret) bool {
	return !strings.ContainsFunc(token.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' })
}

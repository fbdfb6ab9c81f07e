package relay_test

import (
	"context"
	"log/slog"
	"net/url"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/express"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

// cachedToken is a step-up token that is there for every caller.
type cachedToken cache.Token

func (t cachedToken) Cached(context.Context, rule.Match, secret.Secret) (*stepup.TokenUse, bool) {
	return &stepup.TokenUse{Token: cache.Token(t)}, true
}

// An express lane sends a step-up token only where nothing else than to send it has to be done,
// and nothing at all that may be a login or the end of a token.
func TestDecide(t *testing.T) {
	t.Parallel()
	const prod = "/v1/kv/data/prod/db"
	const lines = "X-Vault-Token: hvs.step-up\r\n"
	read := express.Request{Method: "GET", Target: prod, Token: "t"}
	type test struct {
		request express.Request
		rule    func(*rule.Rule)
		token   cache.Token
		lines   string
		ok      bool
	}
	same := func(*rule.Rule) {}
	usual := cache.Token{Secret: "hvs.step-up"}
	each(t, map[string]test{
		"a token":                  {read, same, usual, lines, true},
		"of a state":               {read, same, cache.Token{Secret: "hvs.step-up", Index: "i"}, lines + "X-Vault-Index: i\r\n", true},
		"of a bearer":              {express.Request{Method: "GET", Target: prod, Authorization: "Bearer t"}, same, usual, lines, true},
		"of no caller":             {express.Request{Method: "GET", Target: prod}, same, usual, "", false},
		"with a body":              {express.Request{Method: "POST", Target: prod, Token: "t", Body: 1}, same, usual, "", false},
		"by a header grant":        {read, func(r *rule.Rule) { r.Grant.Kind = rule.HeaderGrant }, usual, "", false},
		"after a yes":              {read, func(r *rule.Rule) { r.Confirm = true }, usual, "", false},
		"after an approval":        {read, func(r *rule.Rule) { r.ControlGroup.Timeout = time.Minute }, usual, "", false},
		"for a look at a mount":    {express.Request{Method: "GET", Target: "/v1/sys/internal/ui/mounts/kv", Token: "t"}, same, usual, "", false},
		"with a line of its own":   {read, same, cache.Token{Secret: "hvs.x\r\nX-Evil: 1"}, "", false},
		"its state has a line":     {read, same, cache.Token{Secret: "hvs.x", Index: "i\r\nX-Evil: 1"}, "", false},
		"no rule":                  {express.Request{Method: "GET", Target: "/v1/kv/data/else"}, same, usual, "", true},
		"a login":                  {express.Request{Method: "POST", Target: "/v1/auth/ldap/login/alice"}, same, usual, "", false},
		"a login in a namespace":   {express.Request{Method: "POST", Target: "/v1/ns/auth/ldap/login/alice"}, same, usual, "", false},
		"a revocation":             {express.Request{Method: "POST", Target: "/v1/sys/leases/revoke"}, same, usual, "", false},
		"a revocation in disguise": {express.Request{Method: "POST", Target: "/v1/kv/..%2fsys/leases/revoke"}, same, usual, "", false},
	}, func(t *testing.T, tt test) {
		c := relay.Config{
			Address: &url.URL{Scheme: "http", Host: "vault:8200"}, Log: slog.New(slog.DiscardHandler),
			Resolver: parts{&resolver{}, cachedToken(tt.token), &single{}, &mounts{}, &approver{}, &revocations{}},
		}
		prodRule(&c)
		c.Rules[0].Grant.Kind = rule.TokenGrant
		tt.rule(&c.Rules[0])
		pass, ok := relay.New(c).Decide(t.Context(), tt.request)
		if ok != tt.ok || string(pass.Token) != tt.lines || (pass.Mark != "") != (tt.lines != "") {
			t.Errorf("Decide = %q, %q, %t", pass.Token, pass.Mark, ok)
		}
	})
}

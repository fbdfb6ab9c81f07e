package e2e

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

// A user is one at userpass who has an entity, so that methods and
// enforcements can be hung on them alone.
type user struct {
	name, password, entity string
	server                 *server
}

var users atomic.Int64

// newUser makes a user with these policies and "default".
func (s *server) newUser(t *testing.T, policies ...string) user {
	t.Helper()
	n := users.Add(1)
	u := user{name: fmt.Sprintf("user%d", n), password: fmt.Sprintf("pw-of-user-%d-%d", n, time.Now().UnixNano()), server: s}
	s.write(t, "auth/userpass/users/"+u.name, map[string]any{
		"password": u.password, "token_policies": strings.Join(append(policies, "default"), ","),
	})
	u.entity = s.write(t, "identity/entity", map[string]any{"name": u.name}).Data["id"].(string)
	s.write(t, "identity/entity-alias", map[string]any{
		"name": u.name, "canonical_id": u.entity, "mount_accessor": s.accessor(t, "userpass"),
	})
	return u
}

// accessor is that of an auth mount.
func (s *server) accessor(t *testing.T, mount string) string {
	t.Helper()
	mounts, err := s.root.Sys().ListAuthWithContext(t.Context())
	check(t, err)
	return mounts[mount+"/"].Accessor
}

// newMFAUser makes a user whose login needs a code.
func (s *server) newMFAUser(t *testing.T) (user, *codes) {
	t.Helper()
	u := s.newUser(t)
	c := u.totp(t)
	u.enforce(t, c.id)
	return u, c
}

// secret writes a secret of its own at this path of KV version 2.
func (s *server) secret(t *testing.T, path string) {
	t.Helper()
	s.write(t, path, map[string]any{"data": map[string]any{"key": "value"}})
}

// policy writes an ACL policy under a name of its own.
func (s *server) policy(t *testing.T, rules string) string {
	t.Helper()
	name := fmt.Sprintf("policy%d", users.Add(1))
	check(t, s.root.Sys().PutPolicyWithContext(t.Context(), name, rules))
	return name
}

// token logs in directly at the server, as an app that has its token already.
func (u user) token(t *testing.T) string {
	t.Helper()
	client, err := u.server.client(u.server.addr, "")
	check(t, err)
	secret, err := client.Logical().WriteWithContext(t.Context(), "auth/userpass/login/"+u.name, map[string]any{"password": u.password})
	if err != nil || secret.Auth == nil || secret.Auth.ClientToken == "" {
		t.Fatalf("direct login of %s: %v, %v", u.name, secret, err)
	}
	return secret.Auth.ClientToken
}

// codes gives each code of a secret once, as an authenticator does whose user waits for
// the next one.
type codes struct {
	id, name, secret string // id and name of the method in Vault, if there is one

	mu   sync.Mutex
	last int64 // the time step of the last code given out

	mistakes atomic.Int64
}

// totp makes a TOTP method and enrols u in it.
func (u user) totp(t *testing.T) *codes {
	t.Helper()
	c := &codes{name: fmt.Sprintf("totp%d", users.Add(1))}
	c.id = u.server.write(t, "identity/mfa/method/totp", map[string]any{
		"method_name": c.name, "issuer": "Vault", "period": 30, "algorithm": "SHA1", "digits": 6, "key_size": 20,
	}).Data["method_id"].(string)
	made := u.server.write(t, "identity/mfa/method/totp/admin-generate", map[string]any{"method_id": c.id, "entity_id": u.entity})
	link, err := url.Parse(made.Data["url"].(string))
	check(t, err)
	c.secret = link.Query().Get("secret")
	return c
}

// enforce demands one of these methods at u's login; several calls add up.
func (u user) enforce(t *testing.T, methodIDs ...string) (name string) {
	t.Helper()
	name = fmt.Sprintf("enforcement%d", users.Add(1))
	u.server.write(t, "identity/mfa/login-enforcement/"+name, map[string]any{
		"mfa_method_ids": methodIDs, "identity_entity_ids": []string{u.entity},
	})
	return name
}

// next is a code that was not given out before and that the server takes now:
// Vault accepts one step of skew, so two codes are there without waiting.
func (c *codes) next() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	step := max(time.Now().Unix()/30, c.last+1)
	if wait := time.Until(time.Unix((step-1)*30, 0)); wait > 0 {
		time.Sleep(wait)
	}
	c.last = step
	return c.at(step)
}

// wrong is a code that is none of those the server would take, now or soon, and another one
// each time.
func (c *codes) wrong() string {
	step := time.Now().Unix() / 30
	near := map[string]bool{}
	for i := step - 2; i <= step+4; i++ {
		near[c.at(i)] = true
	}
	for {
		i := c.mistakes.Add(1)
		if code := fmt.Sprintf("%06d", i); !near[code] {
			return code
		}
	}
}

func (c *codes) at(step int64) string {
	code, err := totp.GenerateCode(c.secret, time.Unix(step*30, 0))
	if err != nil {
		panic(err) // the secret came from the library or from Vault
	}
	return code
}

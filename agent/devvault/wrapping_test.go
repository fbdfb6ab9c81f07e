package devvault

import (
	"testing"
	"time"
)

const wrapInfo = `{"request_id":"","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":{"token":"TOKEN","accessor":"ACCESSOR","ttl":60,"creation_time":"TIME","creation_path":"`

func TestWrapping(t *testing.T) {
	t.Parallel()
	s, root := newFixture(t, Config{})
	c := root.as(s.CreateToken([]string{"default", "dev"}, "alice"))
	wrap := []string{"X-Vault-Wrap-TTL", "60"}
	wrapped := func() string {
		return c.do("GET", "/v1/secret/data/x", nil, wrap...).text(t, "wrap_info", "token")
	}
	const secret = envelopeHead + `"data":{"data":{"a":"b"},"metadata":{"created_time":"TIME","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}`

	c.do("GET", "/v1/secret/data/x", nil, wrap...).want(t, 200, wrapInfo+`secret/data/x"},"warnings":null,"auth":null,"mount_type":""}`+"\n")
	c.do("GET", "/v1/secret/data/none", nil, wrap...).want(t, 404, "{\"errors\":[]}\n")
	c.do("GET", "/v1/secret/data/deny", nil, wrap...).refused(t, 403, textDenied)
	c.do("GET", "/v1/secret/data/x", nil, "X-Vault-Wrap-TTL", "-5").refused(t, 400, "error parsing X-Vault-Wrap-TTL header: requested wrap ttl cannot be negative")
	root.do("DELETE", "/v1/secret/data/none", nil, wrap...).want(t, 204, "")

	token := wrapped()
	lookup := envelopeHead + `"data":{"creation_path":"secret/data/x","creation_time":"TIME","creation_ttl":60},"wrap_info":null,"warnings":null,"auth":null,"mount_type":""}` + "\n"
	c.as("").do("POST", "/v1/sys/wrapping/lookup", map[string]string{"token": token}).want(t, 200, lookup)
	c.as("").do("POST", "/v1/sys/wrapping/unwrap", map[string]string{"token": token}).refused(t, 403, "permission denied")
	c.do("POST", "/v1/sys/wrapping/unwrap", map[string]string{"token": token}).want(t, 200, secret)
	c.do("POST", "/v1/sys/wrapping/unwrap", map[string]string{"token": token}).refused(t, 400, textWrapToken)
	c.as(token).do("POST", "/v1/sys/wrapping/unwrap", nil).refused(t, 400, textWrapToken)

	c.as(wrapped()).do("POST", "/v1/sys/wrapping/unwrap", nil).want(t, 200, secret)
	c.do("POST", "/v1/sys/wrapping/unwrap", nil).refused(t, 400, textWrapToken) // an ordinary token
	c.as("").do("POST", "/v1/sys/wrapping/unwrap", nil).refused(t, 403, "error validating wrapping token: token is empty")

	old := c.as(wrapped())
	if got := old.do("GET", "/v1/cubbyhole/response", nil); normal(got.text(t, "data", "response")) != secret {
		t.Errorf("cubbyhole/response: %d %s", got.status, got.body)
	}
	old.do("GET", "/v1/cubbyhole/response", nil).refused(t, 403, textInvalidToken)
	c.as(wrapped()).do("GET", "/v1/auth/token/lookup-self", nil).refused(t, 403, textDenied)

	late := wrapped()
	root.clock.Add(time.Minute)
	c.do("POST", "/v1/sys/wrapping/unwrap", map[string]string{"token": late}).refused(t, 400, textWrapToken)

	c.do("POST", "/v1/sys/wrapping/wrap", `{"k":"v"}`).refused(t, 400, "endpoint requires response wrapping to be used")
	own := c.do("POST", "/v1/sys/wrapping/wrap", `{"k":"v"}`, wrap...).text(t, "wrap_info", "token")
	c.as(own).do("PUT", "/v1/sys/wrapping/unwrap", nil).want(t, 200, envelopeHead+`"data":{"k":"v"},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"system"}`)
}

func TestWrappedLogin(t *testing.T) {
	t.Parallel()
	_, c := newFixture(t, Config{})
	got := c.as("").login("alice", "X-Vault-Wrap-TTL", "60s")
	got.want(t, 200, wrapInfo+`auth/userpass/login/alice","wrapped_accessor":"ACCESSOR"},"warnings":null,"auth":null,"mount_type":""}`+"\n")
	inside := c.as(got.text(t, "wrap_info", "token")).do("POST", "/v1/sys/wrapping/unwrap", nil)
	if inside.text(t, "auth", "accessor") != got.text(t, "wrap_info", "wrapped_accessor") {
		t.Errorf("unwrapped %s", inside.body)
	}
}

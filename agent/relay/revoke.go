package relay

import (
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/vault-stepup/stepup/cache/secret"
)

// Revocations hears which tokens Vault has revoked for an app.
type Revocations interface {
	// Revoked is called before the app has Vault's answer. Both are "" when the request
	// does not tell which token it was, or may have ended many. It returns at once.
	Revoked(token secret.Secret, accessor string)
}

// maxRevocation is more than any body that names a token.
const maxRevocation = 64 << 10

// revoked tells of a revocation that Vault has confirmed: the tokens that were made
// for that caller must not outlive it. The request and its answer go by as they are.
func (t *Transport) revoked(r *http.Request, body *keptBody, resp *http.Response) {
	if t.config.Revocations == nil || resp == nil || resp.StatusCode/100 != 2 {
		return
	}
	at := path.Clean("/" + r.URL.Path)
	// Whatever stands before these is taken for a namespace: the wrong guess costs a
	// look-up, or a question.
	ends := func(suffix string) bool { return strings.HasSuffix(at, "/auth/token/"+suffix) }
	within := func(folder string) bool { return strings.Contains(at+"/", "/sys/"+folder) }
	switch write := r.Method == http.MethodPost || r.Method == http.MethodPut; {
	case write && ends("revoke-self"):
		t.config.Revocations.Revoked(callerToken(r), "")
	case write && (ends("revoke") || ends("revoke-orphan")):
		t.config.Revocations.Revoked(secret.Secret(field(r, body, "token")), "")
	case write && ends("revoke-accessor"):
		t.config.Revocations.Revoked("", field(r, body, "accessor"))
	case write && (within("leases/revoke") || within("revoke")):
		// The lease of a login is its token; a prefix may be a whole auth method.
		t.config.Revocations.Revoked("", "")
	case r.Method == http.MethodDelete && (within("auth/") || within("namespaces/")):
		t.config.Revocations.Revoked("", "")
	}
}

// field is a text in the body of a request, which may be JSON or a form as for Vault
// (http/handler.go, isForm), "" when it cannot be read. The body has gone to Vault.
func field(r *http.Request, body *keptBody, name string) string {
	data := body.bytes()
	if !body.whole() || len(data) > maxRevocation {
		return ""
	}
	text := strings.TrimLeft(string(data), " \t\r\n")
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind == "application/x-www-form-urlencoded" && !strings.HasPrefix(text, "{") {
		form, err := url.ParseQuery(text)
		if err != nil {
			return ""
		}
		return form.Get(name)
	}
	fields := make(map[string]any) // Vault's names have small letters only
	if json.Unmarshal(data, &fields) != nil {
		return ""
	}
	value, _ := fields[name].(string)
	return value
}

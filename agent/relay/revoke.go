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

// maxRevocation is more than any body that names a token.
const maxRevocation = 64 << 10

// reportRevocation tells of the revocation that Vault has confirmed, if r was one: the
// tokens that were made for that caller must not outlive it.
func reportRevocation(to Revocations, r *http.Request, body *replayableBody) {
	at := path.Clean("/" + r.URL.Path)
	// Everything before these is taken for a namespace: the wrong guess costs a
	// look-up, or a question.
	ends := func(suffix string) bool { return strings.HasSuffix(at, "/auth/token/"+suffix) }
	within := func(folder string) bool { return strings.Contains(at+"/", "/sys/"+folder) }
	switch write := r.Method == http.MethodPost || r.Method == http.MethodPut; {
	case write && ends("revoke-self"):
		to.Revoked(callerToken(r), "")
	case write && (ends("revoke") || ends("revoke-orphan")):
		to.Revoked(secret.Secret(field(r, body, "token")), "")
	case write && ends("revoke-accessor"):
		to.Revoked("", field(r, body, "accessor"))
	case write && (within("leases/revoke") || within("revoke")),
		r.Method == http.MethodDelete && (within("auth/") || within("namespaces/")):
		// The lease of a login is its token; a prefix may be a whole auth method.
		to.Revoked("", "")
	}
}

// field is a text in the body of a request, which may be JSON or a form as for Vault
// (http/handler.go, isForm), "" when it cannot be read. The body has gone to Vault.
func field(r *http.Request, body *replayableBody, name string) string {
	data := body.bytes()
	if !body.fullyBuffered() || len(data) > maxRevocation {
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

package devvault

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
)

// A mount is one secrets engine or auth method.
type mount struct {
	path        string // "secret/", "auth/userpass/"
	kind        string // kv, userpass, ldap, okta, token, system, cubbyhole, transit
	accessor    string
	uuid        string
	description string

	kv    *kvStore        // of kind kv
	users map[string]user // of kind userpass, ldap and okta
	okta  *Okta           // of kind okta
	duo   *LegacyDuo      // nil without MFA of Vault up to 1.10
}

func newMount(path, kind, description string) *mount {
	m := &mount{path: path, kind: kind, description: description, uuid: newUUID()}
	m.accessor = kind + "_" + strings.ToLower(rand.Text()[:8])
	if strings.HasPrefix(path, "auth/") {
		m.accessor = "auth_" + m.accessor
	}
	switch kind {
	case "kv":
		m.kv = &kvStore{secrets: make(map[string]*kvSecret)}
	case "userpass", "ldap", "okta":
		m.users = make(map[string]user)
	}
	return m
}

// builtinMounts is what each namespace has from the start.
func builtinMounts() []*mount {
	return []*mount{
		newMount("sys/", "system", "system endpoints used for control, policy and debugging"),
		newMount("cubbyhole/", "cubbyhole", "per-token private secret storage"),
		newMount("auth/token/", "token", "token based credentials"),
		newMount("secret/", "kv", "key/value secret storage"),
		newMount("kv/", "kv", ""),
		newMount("transit/", "transit", ""),
	}
}

// mountLocked finds the mount of a path, and the path inside. A mount also answers to
// its own name without the slash.
func (n *Namespace) mountLocked(path string) (m *mount, rest string) {
	for at := 0; at <= len(path); at++ {
		if at < len(path) && path[at] != '/' {
			continue
		}
		if found := n.mounts[path[:at]+"/"]; found != nil {
			m, rest = found, strings.TrimPrefix(path[at:], "/")
		}
	}
	return m, rest
}

// info is what sys/internal/ui/mounts says about a mount.
func (m *mount) info() map[string]any {
	lease := int(defaultTTL.Seconds())
	config := map[string]any{"default_lease_ttl": lease, "force_no_cache": false, "max_lease_ttl": lease}
	info := map[string]any{
		"accessor": m.accessor, "config": config, "description": m.description,
		"external_entropy_access": false, "local": m.kind == "cubbyhole", "options": nil,
		"plugin_version": "", "running_plugin_version": "v1.21.0+builtin.vault", "running_sha256": "",
		"seal_wrap": m.kind == "system", "type": m.kind, "uuid": m.uuid,
	}
	switch m.kind {
	case "kv":
		info["options"] = map[string]string{"version": "2"}
		info["deprecation_status"] = "supported"
		info["running_plugin_version"] = "v0.25.0+builtin"
	case "userpass", "ldap", "okta", "transit":
		info["options"] = map[string]string{}
		info["deprecation_status"] = "supported"
	case "system":
		config["passthrough_request_headers"] = []string{"Accept"}
	}
	if m.isAuth() {
		config["token_type"] = "default-service"
	}
	return info
}

func (m *mount) isAuth() bool { return strings.HasPrefix(m.path, "auth/") }

// uiMountsLocked answers sys/internal/ui/mounts[/PATH], by which the CLI finds out
// which version a KV store has. It needs any capability below the mount.
func (s *Server) uiMountsLocked(r *request) (*response, error) {
	if r.op != opRead {
		return nil, refuse(http.StatusMethodNotAllowed, textUnsupportedRaw)
	}
	var a *acl
	if r.tokenID != "" {
		t, err := s.tokenLocked(r.tokenID)
		if err != nil {
			return nil, err
		}
		a = s.aclLocked(t) // and no use of the token is spent here
	}
	path, one := strings.CutPrefix(r.path, "sys/internal/ui/mounts/")
	if !one || path == "" {
		return &response{data: s.visibleLocked(r.ns, a)}, nil
	}
	if a == nil {
		return nil, refuse(http.StatusForbidden, textBareDenied)
	}
	if !strings.HasSuffix(path, "/") {
		path += "/"
	}
	path = strings.TrimLeft(path, "/")
	ns, rest := s.resolveLocked(r.ns.path + path) // the mount of a child may be asked about from here
	m, _ := ns.mountLocked(rest)
	if m == nil || !a.reaches(ns.path+m.path) {
		return nil, refuse(http.StatusForbidden, textMountPreflight, path)
	}
	info := m.info()
	info["path"] = strings.TrimPrefix(m.path, "auth/")
	if ns != r.ns {
		info["path"] = ns.path + m.path
	}
	return &response{data: info}, nil
}

func (s *Server) visibleLocked(n *Namespace, a *acl) map[string]any {
	auth, secret := make(map[string]any), make(map[string]any)
	for path, m := range n.mounts {
		switch {
		case a == nil || !a.reaches(n.path+path):
		case m.isAuth():
			auth[strings.TrimPrefix(path, "auth/")] = m.info()
		default:
			secret[path] = m.info()
		}
	}
	return map[string]any{"auth": auth, "secret": secret}
}

// cubbyholeLocked is the store of one token, gone with it.
func (s *Server) cubbyholeLocked(r *request, rest string) (*response, error) {
	t := r.token
	if strings.Contains(rest, "..") { // KV stores names of its own making, this one the path
		if r.op == opUpdate {
			return nil, refuse(http.StatusInternalServerError, textInternal)
		}
		return nil, refuse(http.StatusBadRequest, textRelativeRead)
	}
	switch r.op {
	case opRead:
		if t.wrapping != nil && rest == "response" {
			return t.wrapping.cubbyhole(), nil
		}
		if t.cubbyhole[rest] == nil {
			return nil, nil
		}
		return &response{data: t.cubbyhole[rest], mountType: "cubbyhole"}, nil
	case opUpdate:
		if len(r.data) == 0 {
			return nil, errors.New("missing data fields")
		}
		if t.cubbyhole == nil {
			t.cubbyhole = make(map[string]map[string]any)
		}
		t.cubbyhole[rest] = r.data
		return nil, nil
	case opDelete:
		delete(t.cubbyhole, rest)
		return nil, nil
	case opList:
		return listing(t.cubbyhole, rest, "cubbyhole")
	default:
		return nil, refuse(http.StatusMethodNotAllowed, textUnsupported)
	}
}

// transitLocked signs for any key name: a POST that changes nothing. The signature is a
// digest of key and input, so that the same call gives the same answer.
func (s *Server) transitLocked(r *request, rest string) (*response, error) {
	key, ok := strings.CutPrefix(rest, "sign/")
	if !ok || key == "" {
		return nil, refuse(http.StatusNotFound, textNoPath)
	}
	if r.op != opUpdate {
		return nil, refuse(http.StatusMethodNotAllowed, textUnsupported)
	}
	signature, err := sign(key, r.text("input"))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "unable to decode input: %v", err)
	}
	return &response{mountType: "transit", data: map[string]any{
		"key_version": json.Number("1"), "signature": "vault:v1:" + signature,
	}}, nil
}

// kvTime is a time in KV's JSON, "" when there is none.
func kvTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return rfc3339(t)
}

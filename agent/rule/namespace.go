package rule

import (
	"slices"
	"strings"
)

// Namespace brings a namespace into the one form that is compared: no slashes
// at its ends, and "" for root, which Vault also accepts by that word.
func Namespace(s string) string {
	s = strings.Trim(s, "/")
	if s == "root" {
		return ""
	}
	return s
}

// CanBeNamespace reports whether there can be a namespace of that name: root, or segments
// that Vault neither cleans nor keeps for itself.
func CanBeNamespace(s string) bool {
	s = strings.Trim(s, "/")
	return s == "root" || s != "" && clean("/"+s) == "/"+s && !anyReserved(s)
}

// ReadAlike reports whether every server takes a namespace header for what it says.
// OpenBao cleans it: ns1/.. is root there, and no name that a rule knows.
func ReadAlike(header string) bool { return Namespace(header) == "" || CanBeNamespace(header) }

// In is the namespace in which the grant of r makes a token for a request with this
// X-Vault-Namespace.
func (r *Rule) In(namespace string) string {
	if r.Namespace != "" {
		return Namespace(r.Namespace)
	}
	return Namespace(namespace)
}

// view is q in the namespace of r, with the path that it has there. A prefix of a path
// is taken for a namespace only where the rule names it: without namespaces, or where
// none has that name, kv1/kv/data/x is a path of the mount kv1.
func (r *Rule) view(q Request) (Request, bool) {
	if r.Namespace == "" {
		return q, true
	}
	return q.within(Namespace(r.Namespace))
}

// within is q with the path that it has in namespace. ok is false where header and
// path together do not lead there.
func (q Request) within(namespace string) (in Request, ok bool) {
	if q.Namespace == namespace {
		return q, true
	}
	rest := namespace
	if q.Namespace != "" {
		rest, ok = strings.CutPrefix(namespace, q.Namespace+"/")
		if !ok {
			return Request{}, false
		}
	}
	q.Path, ok = strings.CutPrefix(q.Path, rest+"/")
	if !ok || rest == "" || q.Path == "" || anyReserved(rest) {
		return Request{}, false
	}
	q.Namespace = namespace
	return q, true
}

// Login is q in the namespace in which it logs in, or calls what is below auth/: no
// namespace is called auth, so what stands before it is one. ok is false for a path
// without auth/.
func (q Request) Login() (in Request, ok bool) {
	before, rest, ok := strings.Cut("/"+q.Path, "/auth/")
	if !ok || rest == "" {
		return q, false
	}
	if before != "" {
		if anyReserved(before[1:]) {
			return q, false // sys/auth/x is about the method, in no namespace called sys
		}
		q.Namespace = Namespace(q.Namespace + before)
	}
	q.Path = "auth/" + rest
	return q, true
}

// anyReserved reports whether a segment of path is none that a namespace can have.
func anyReserved(path string) bool {
	return slices.ContainsFunc(strings.Split(path, "/"), reserved)
}

// reserved are the names that no namespace can have, so that sys/policies/x is
// never taken for policies/x in a namespace called sys
// (developer.hashicorp.com/vault/docs/enterprise/namespaces).
func reserved(segment string) bool {
	switch segment {
	case "root", "sys", "audit", "auth", "cubbyhole", "identity":
		return true
	}
	return false
}

// IsLogin reports whether r logs in at one of mounts ("auth/ldap", no slash at the
// ends): a write to MOUNT/login, or to MOUNT/login/ and a name. No mounts mean
// every auth method of one segment; among longer ones there are paths that only
// look like a login (auth/approle/role/login/secret-id). Namespaces may stand
// before the mount: none of them is called auth.
func IsLogin(r Request, mounts []string) bool {
	if r.Operation != Update || strings.HasSuffix(r.Path, "/") {
		return false
	}
	r, ok := r.Login()
	if !ok {
		return false
	}
	path := strings.Split(r.Path, "/")
	if len(mounts) == 0 {
		return endsInLogin(path, 2)
	}
	return slices.ContainsFunc(mounts, func(mount string) bool {
		at := strings.Split(mount, "/")
		return len(path) > len(at) && slices.Equal(path[:len(at)], at) && endsInLogin(path, len(at))
	})
}

// endsInLogin reports whether login, and at most a name, stands behind the first n
// segments of path.
func endsInLogin(path []string, n int) bool {
	return (len(path) == n+1 || len(path) == n+2) && path[n] == "login" && path[n-1] != ""
}

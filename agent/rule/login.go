package rule

import (
	"slices"
	"strings"
)

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

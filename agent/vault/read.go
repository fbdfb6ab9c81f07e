package vault

import (
	"net/url"
	"strings"
)

// A Listing is what Vault lists below a path.
type Listing struct {
	Keys []string
	Info map[string]map[string]any // of a key, where the path tells more than keys
}

// A Mount is a secrets engine.
type Mount struct {
	Path    string // with a slash at its end
	Type    string // such as kv, or generic as very old servers say
	Version string // of a KV store: 1 or 2; else ""
}

// KV2 is the path of a KV store of version 2; "" of any other engine.
func (m Mount) KV2() string {
	if m.Type == "kv" && m.Version == "2" {
		return m.Path
	}
	return ""
}

// PathTo is the path of what has a name below folder, with the name escaped. ok is false
// for a name that would lead elsewhere: the server says what its things are called, and
// "../../auth/token/…" would make our request another one.
func PathTo(folder, name string) (path string, ok bool) {
	var escaped []string
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return "", false
		}
		escaped = append(escaped, url.PathEscape(segment))
	}
	return folder + "/" + strings.Join(escaped, "/"), true
}

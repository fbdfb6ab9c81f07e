// Package rule says which requests may be stepped up: Vault's policy path
// syntax, the capability that a request needs, and the namespace it is in. It
// does no I/O.
package rule

import (
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// An Operation is a capability word of Vault's policies.
type Operation string

// The capabilities that a rule may name.
const (
	Create Operation = "create"
	Read   Operation = "read"
	Update Operation = "update"
	Patch  Operation = "patch"
	Delete Operation = "delete"
	List   Operation = "list"
)

// Operations lists every Operation, in the order of Vault's documentation.
func Operations() []Operation { return []Operation{Create, Read, Update, Patch, Delete, List} }

// A Request is what Vault makes of an HTTP request before it looks at policies.
type Request struct {
	Namespace string    // from X-Vault-Namespace or the listener's vault; no slashes at its ends; "" is root
	Path      string    // cleaned and decoded, without /v1/; ends in "/" for List
	Operation Operation // a POST is Update, although Vault may ask for Create instead
}

// Derive tells what Vault would check for a request with this method, URL and
// X-Vault-Namespace (http/logical.go, buildLogicalRequestNoAuth; the path is
// cleaned as http.ServeMux does). ok is false for what has no capability of its
// own: paths outside /v1/, HEAD, OPTIONS, help, and methods Vault does not know.
func Derive(method string, u *url.URL, namespace string) (r Request, ok bool) {
	p, ok := strings.CutPrefix(clean(u.Path), "/v1/")
	if !ok || p == "" {
		return Request{}, false
	}
	r = Request{Namespace: Namespace(namespace), Path: p}
	switch method {
	case "GET":
		r.Operation = Read
		q := u.Query()
		if q.Get("help") != "" {
			return Request{}, false
		}
		if list, err := strconv.ParseBool(q.Get("list")); err == nil && list {
			r.Operation = List
		}
	case "LIST":
		r.Operation = List
	case "POST", "PUT":
		r.Operation = Update
	case "PATCH":
		r.Operation = Patch
	case "DELETE":
		r.Operation = Delete
	default:
		return Request{}, false
	}
	if r.Operation == List && !strings.HasSuffix(r.Path, "/") {
		r.Path += "/"
	}
	return r, true
}

// clean is what http.ServeMux makes of a decoded path: Vault redirects every
// other spelling, so no rule can be dodged or caught by one.
func clean(p string) string {
	if p == "" || p[0] != '/' {
		p = "/" + p
	}
	c := path.Clean(p)
	if strings.HasSuffix(p, "/") && c != "/" {
		c += "/"
	}
	return c
}

// Namespace brings a namespace into the one form that is compared: no slashes
// at its ends, and "" for root, which Vault also accepts by that word.
func Namespace(s string) string {
	s = strings.Trim(s, "/")
	if s == "root" {
		return ""
	}
	return s
}

// Grants reports whether Vault's answer of sys/capabilities-self allows r. A
// POST needs create or update, depending on what exists already. Root is not
// asked for a second factor, so its 403 means something else.
func (r Request) Grants(capabilities []string) bool {
	if slices.Contains(capabilities, "deny") {
		return false
	}
	return slices.ContainsFunc(capabilities, func(c string) bool {
		return c == string(r.Operation) || (r.Operation == Update && c == string(Create))
	})
}

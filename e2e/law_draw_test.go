package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A draw is one request of the law: byte for byte what is sent, but for the address.
type draw struct {
	grant  *lawGrant
	caller string
	call   call // without the lines that carry a token
	tokens []string
	holder string // the caller whose token Vault reads, which may be another's that stands beside it
}

// drawLaw makes the request of this number: the same for the same seed.
func (w *lawWorld) drawLaw(seed, number uint64) draw {
	r := rand.New(rand.NewPCG(seed, number))
	d := draw{grant: w.grants[r.IntN(len(w.grants))]}
	if d.grant.kind == "header" && r.IntN(2) == 0 { // a prompt for each takes its time
		d.grant = w.grants[r.IntN(2)]
	}
	d.caller = weighted(r, map[string]int{
		"first": 34, "second": 14, "revoked": 10, "expired": 10, "left": 8, "other": 12, "junk": 6, "none": 6,
	})
	d.tokens = drawToken(r, d.grant.callers[d.caller].token, d.grant.callers["other"].token)
	d.holder = d.grant.holder(readToken(d.tokens))
	d.call.method = weighted(r, map[string]int{
		"GET": 46, "LIST": 8, "POST": 12, "PUT": 8, "PATCH": 6, "DELETE": 8, "HEAD": 4, "OPTIONS": 2, "SCAN": 2, "RECOVER": 2, "TRACE": 1, "get": 1,
	})
	leaf := "web"
	switch d.call.method {
	case "POST", "PUT", "PATCH", "RECOVER":
		leaf = "put"
		kind := "application/json"
		if d.call.method == "PATCH" && r.IntN(6) > 0 {
			kind = "application/merge-patch+json"
		}
		d.call.header = append(d.call.header, "Content-Type: "+kind)
		d.call.body = `{"data":{"key":"value"},"paths":["kv/data/deploy/web","kv/data/other/web"]}`
	case "DELETE":
		leaf = "gone"
	}
	path := strings.ReplaceAll(one(r, lawPaths), "LEAF", leaf)
	if d.call.method == "DELETE" && strings.HasPrefix(path, "sys/") {
		path = "kv/data/deploy/gone" // without a mount there is no answer to compare
	}
	for range []int{0, 0, 0, 1, 1, 1, 1, 2, 2, 3}[r.IntN(10)] {
		path = spell(r, path, leaf)
	}
	d.call.target = one(r, lawRoots) + path + drawQuery(r)
	if r.IntN(10) < 3 {
		d.call.header = append(d.call.header, "X-Vault-Namespace: "+one(r, []string{"ns1", "root", "/", "kv", "kv1/kv", "..", "kv/data/deploy", "ns1/ns2/", "admin"}))
	}
	return d
}

// readToken is the token that Vault takes (http/handler.go, getTokenFromReq): the first line of the one
// header, if it is not empty, else the first of the other that says Bearer.
func readToken(lines []string) string {
	vault, bearer := "", ""
	first := true
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		value = strings.Trim(value, " ")
		token, isBearer := strings.CutPrefix(value, "Bearer ")
		switch {
		case strings.EqualFold(name, "X-Vault-Token") && first:
			vault, first = value, false
		case strings.EqualFold(name, "Authorization") && isBearer && bearer == "":
			bearer = strings.TrimSpace(token)
		}
	}
	if vault != "" {
		return vault
	}
	return bearer
}

// holder is the name of the caller with this token.
func (g *lawGrant) holder(token string) string {
	for name, c := range g.callers {
		if c.token == token {
			return name
		}
	}
	return "none"
}

// elevatedBy is the same request with a step-up token in the place of the caller's own.
func (d draw) elevatedBy(token string) call {
	return d.with([]string{tokenHeader(token)})
}

func (d draw) with(lines []string) call {
	c := d.call
	c.header = append(append([]string{}, lines...), c.header...)
	return c
}

// lawRoots are spellings of /v1/.
var lawRoots = strings.Split(strings.Repeat("/v1/ ", 30)+"/v1// //v1/ /./v1/ /x/../v1/ /%76%31/ /v1%2f /V1/ /v1/%2f /v1/./ /v1/v1/", " ")

// lawPaths are below the rules, beside them, and what only looks like one of theirs.
var lawPaths = []string{
	"kv/data/deploy/LEAF", "kv/data/deploy/LEAF", "kv/data/deploy/LEAF", "kv/data/deploy/a/LEAF", "kv/data/deploy/open/LEAF",
	"kv/metadata/deploy/LEAF", "kv/metadata/deploy/", "kv/metadata/deploy", "kv/data/x/plus", "kv/data/exact", "kv1/team/x/deep/LEAF",
	"kv1/lists/dir", "kv1/lists/dir/", "kv/data/ro/LEAF", "kv/data/ro/LEAF",
	"kv/data/other/LEAF", "kv/data/deploy", "kv/data/deployer/LEAF", "kv/data/x/y/plus", "kv/data/exact/LEAF", "kv/data/exac",
	"kv1/kv/data/deploy/LEAF", "kv1/team/x/y/deep/LEAF", "kv/data/team/kv/data/deploy/LEAF", "kv/data/own/LEAF", "kv/metadata/own/",
	"kv1/own/LEAF", "cubbyhole/kv/data/deploy/LEAF", "ns1/kv/data/deploy/LEAF", "secret/kv/data/deploy/LEAF", "kv/metadata/", "kv1/kv/data/deploy/",
	"sys/mounts/kv/data/deploy/LEAF", "sys/policies/acl/kv/data/deploy/LEAF", "auth/token/lookup-self", "sys/capabilities-self",
	"sys/internal/ui/mounts/kv/deploy/LEAF", "sys/internal/ui/mounts/kv/data/deploy/LEAF", "sys/internal/ui/mounts/kv/other/LEAF",
	"sys/internal/ui/mounts/kv", "sys/internal/ui/mounts/kv1/team/x/deep/LEAF", "sys/internal/ui/mounts/kv1/kv/data/deploy/LEAF",
	"sys/internal/ui/mounts/nope", "sys/internal/ui/mounts", "kv1/sys/internal/ui/mounts/kv/deploy/LEAF", "sys/internal/ui/mounts/kv/ro/LEAF",
}

// drawToken spells a token as clients do and as they do not; other may stand beside it, where Vault
// does not look.
func drawToken(r *rand.Rand, token, other string) []string {
	if token == "" {
		return [][]string{nil, {"X-Vault-Token:"}, {"Authorization: Bearer "}}[r.IntN(3)]
	}
	spellings := [][]string{
		{"Authorization: Bearer " + token}, {"x-vault-token: " + token}, {"X-Vault-Token:   " + token + "  "},
		{"X-Vault-Token: " + token, "Authorization: Bearer " + token}, {"X-Vault-Token: " + token, "Authorization: Bearer " + other},
		{"X-Vault-Token:", "Authorization: Bearer " + token}, {"Authorization: Bearer   " + token}, {"authorization: bearer " + token},
		{"Authorization: Basic eDp5", "Authorization: Bearer " + token}, {"X-Vault-Token: " + token, "X-Vault-Token: " + other},
		{"X-Vault-Token: " + other, "X-Vault-Token: " + token}, {"Authorization: Bearer " + other, "Authorization: Bearer " + token},
	}
	if r.IntN(2) == 0 {
		return []string{tokenHeader(token)}
	}
	return spellings[r.IntN(len(spellings))]
}

func drawQuery(r *rand.Rand) string {
	if r.IntN(10) < 7 {
		return ""
	}
	return "?" + one(r, []string{
		"list=true", "list=true", "list=1", "list=T", "list=false", "list=yes", "list", "help=1", "scan=true", "version=1", "a=b",
		"list=true&list=false", "LIST=true", "%6cist=true", "list=tru%65", "a=%zz", "a;list=true",
	})
}

// spell writes a path in another way: one that means the same, or that only looks so.
func spell(r *rand.Rand, path, leaf string) string {
	if path == "" {
		return path
	}
	switch r.IntN(7) {
	case 0: // one character in escaped form
		at := r.IntN(len(path))
		if path[at] == '%' {
			return path
		}
		return path[:at] + fmt.Sprintf(one(r, []string{"%%%02x", "%%%02X", "%%25%02x"}), path[at]) + path[at+1:]
	case 1, 2: // another slash
		var slashes []int
		for i := range path {
			if path[i] == '/' {
				slashes = append(slashes, i)
			}
		}
		if len(slashes) == 0 {
			return path
		}
		at := slashes[r.IntN(len(slashes))]
		return path[:at] + one(r, []string{
			"%2f", "%2F", "//", "/./", "/zz/../", "/%2e/", "/zz/%2e%2e/", "/zz/..%2f", "/zz%2f..%2f", "/zz%2f%2e%2e/", "/..%2f", "/%2f", "%2f/", "%252f", "%5c", "/../",
		}) + path[at+1:]
	case 3: // something in front
		return one(r, []string{
			"ns1/", "kv1/", "root/", "x/", "sys/mounts/..%2f..%2f", "sys/..%2f", "%2f", "/", "./", "../v1/", "secret/data/..%2f..%2f",
			"kv/data/deploy/..%2f..%2f..%2f", "kv/data/deploy/../../../", "kv/data/deploy/%2e%2e/%2e%2e/%2e%2e/", "sys/internal/ui/mounts/",
			"kv1/sys/internal/ui/mounts/", "ns1/sys/internal/ui/mounts/", "kv/data/", "kv/data/deploy/",
		}) + path
	case 4, 5: // something behind
		return path + one(r, []string{
			"/", "%2f", "//", "/.", "/..", "/%2e", "/%2e%2e", "/%2e%2e/other/" + leaf, "/../other/" + leaf, "/..%2f..%2fother%2f" + leaf,
			"/../../other/" + leaf, "%00", "%20", ";a=b", "*", "+", "%ff", "%5c..%5cother", "%252f..%252fother", "/../../../data/deploy/" + leaf,
		})
	default: // one letter in the other case
		at := r.IntN(len(path))
		return path[:at] + strings.ToUpper(path[at:at+1]) + path[at+1:]
	}
}

func one(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }

// weighted draws a key as often as its weight says, whatever the order of the map.
func weighted(r *rand.Rand, weights map[string]int) string {
	names, sum := sortedKeys(weights), 0
	for _, n := range weights {
		sum += n
	}
	at := r.IntN(sum)
	for _, name := range names {
		if at -= weights[name]; at < 0 {
			return name
		}
	}
	panic("unreachable")
}

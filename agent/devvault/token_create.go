package devvault

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// createLocked is auth/token/create, auth/token/create-orphan and auth/token/create/ROLE.
func (s *Server) createLocked(r *request, roleName string) (*response, error) {
	role, ok := r.ns.roles[roleName]
	if roleName != "" && !ok {
		return nil, refuse(http.StatusBadRequest, textUnknownRole, roleName)
	}
	t := &token{ns: r.ns, display: "token", path: r.path, parent: r.token.id}
	if err := s.kindLocked(r, t, role, roleName); err != nil {
		return nil, err
	}
	if name := r.text("display_name"); name != "" {
		t.display = "token-" + name
	}
	var err error
	if t.policies, err = childPolicies(r, role, roleName != ""); err != nil {
		return nil, err
	}
	if t.ttl, err = r.duration("ttl"); err != nil {
		return nil, err
	}
	if t.maxTTL, err = r.duration("explicit_max_ttl"); err != nil {
		return nil, err
	}
	if t.uses, err = r.count("num_uses"); err != nil {
		return nil, err
	}
	if t.uses < 0 {
		return nil, refuse(http.StatusBadRequest, textNegativeUses)
	}
	if err := t.batchBad(); err != nil {
		return nil, err
	}
	t.meta = r.strings("meta")
	t.renewable = r.data["renewable"] != false
	if slices.Equal(t.policies, []string{"root"}) && t.ttl == 0 {
		t.renewable = false
	} else if t.ttl == 0 {
		t.ttl = defaultTTL
	}
	resp := &response{mountType: "token"}
	if role.MaxTTL > 0 {
		t.maxTTL = role.MaxTTL
	}
	if t.maxTTL > 0 && t.ttl > t.maxTTL {
		resp.warnings = []string{fmt.Sprintf(textTTLCapped, short(t.ttl), short(t.maxTTL))}
		t.ttl = t.maxTTL
	}
	resp.auth = s.issueLocked(t)
	return resp, nil
}

// kindLocked says what a new token is: child or orphan, service or batch. A child has its parent's
// entity, an orphan none. A role alone decides for its tokens, no_parent is not asked then.
func (s *Server) kindLocked(r *request, t *token, role TokenRole, roleName string) error {
	switch {
	case r.token.batch:
		return refuse(http.StatusBadRequest, textBatchParent)
	case r.token.uses != 0:
		return refuse(http.StatusBadRequest, textUsedParent)
	case roleName != "":
		t.orphan = role.Orphan || role.Batch
	case r.path == "auth/token/create-orphan":
		t.orphan = true
	case r.data["no_parent"] == true:
		if a := s.aclLocked(r.token); !a.root && !slices.Contains(a.lookup(r.ns.path+r.path, false).words(), "sudo") {
			return refuse(http.StatusBadRequest, textNoOrphan)
		}
		t.orphan = true
	}
	if !t.orphan {
		t.entity = r.token.entity
	}
	kind := r.text("type")
	if role.Batch {
		kind = "batch"
	}
	switch kind {
	case "", "service":
	case "batch":
		t.batch = true
	default:
		return refuse(http.StatusBadRequest, textBadType)
	}
	return nil
}

// batchBad refuses what a batch token cannot have.
func (t *token) batchBad() error {
	switch {
	case !t.batch:
		return nil
	case t.maxTTL != 0:
		return refuse(http.StatusBadRequest, textBatchBad, "explicit_max_ttl")
	case t.uses != 0:
		return refuse(http.StatusBadRequest, textBatchBad, "num_uses")
	case slices.Contains(t.policies, "root"):
		return refuse(http.StatusBadRequest, textBatchRoot)
	}
	return nil
}

// childPolicies is what a new token may do: never more than its parent, unless a role
// says so (vault/token_store.go).
func childPolicies(r *request, role TokenRole, byRole bool) ([]string, error) {
	asked, parent := sanitized(r.list("policies")), r.token.policies
	isRoot := slices.Contains(parent, "root")
	var out []string
	switch {
	case byRole && role.AllowedPolicies != nil:
		allowed := withDefault(role.AllowedPolicies)
		if len(asked) == 0 {
			out = allowed
			break
		}
		if !subset(asked, allowed) {
			return nil, refuse(http.StatusBadRequest, textRoleSubset, asked, allowed)
		}
		out = withDefault(asked)
	case len(asked) == 0:
		out = slices.Clone(parent)
	case !isRoot && !subset(asked, parent):
		return nil, refuse(http.StatusBadRequest, textNotSubset)
	case slices.Contains(asked, "root"):
		out = []string{"root"}
	case isRoot || slices.Contains(parent, "default"):
		out = withDefault(asked)
	default:
		out = asked
	}
	if r.data["no_default_policy"] == true {
		out = slices.DeleteFunc(out, func(p string) bool { return p == "default" })
	}
	return out, nil
}

func subset(some, all []string) bool {
	return !slices.ContainsFunc(some, func(p string) bool { return !slices.Contains(all, p) })
}

// short prints 1h instead of 1h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

package rule

import (
	"slices"
	"strings"
)

// A Policy is a Sentinel policy of Vault Enterprise that asks for second factors.
type Policy struct {
	Name    string   `hcl:"name,label" label:"the name of the policy in Vault"` // as in Vault's denial, with or without "root/"
	Methods []string `hcl:"methods" names:"mfa_method"`                         // every one must be satisfied
}

// Is reports whether a name that Vault gives means p. Vault before namespaces
// puts no "root/" in front of it, and people leave it out.
func (p Policy) Is(name string) bool {
	return strings.TrimPrefix(p.Name, "root/") == strings.TrimPrefix(name, "root/")
}

// Wants are the methods that a refusal calls for; denied is as in [Match].
// None means that no factor of this rule helps: it names Sentinel policies, and
// denied are others. A rule that names none takes every refusal for its methods,
// because a policy that asks for a factor reads like any other.
func (r *Rule) Wants(denied []string) []string {
	if len(denied) == 0 || len(r.Sentinel) == 0 {
		return r.Methods
	}
	var all []string
	for _, p := range r.Sentinel {
		if slices.ContainsFunc(denied, p.Is) {
			all = Join(all, p.Methods)
		}
	}
	return all
}

// Groups are the methods that Vault may want at once: those of the rule, and
// those of each of its Sentinel policies.
func (r *Rule) Groups() [][]string {
	var all [][]string
	if len(r.Methods) > 0 {
		all = append(all, r.Methods)
	}
	for _, p := range r.Sentinel {
		all = append(all, p.Methods)
	}
	return all
}

// Join gives every name of the lists once, in order.
func Join(lists ...[]string) []string {
	var all []string
	for _, list := range lists {
		for _, s := range list {
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

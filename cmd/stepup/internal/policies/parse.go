// Package policies is stepup config suggest: rules made of the policies of a server.
package policies

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/parser"

	"github.com/vault-stepup/stepup/agent/rule"
)

// Limits of one policy. The grammar recurses, and a policy is a stranger's text: deep
// nesting would end the program, which no recover stops.
const (
	maxPolicy   = 1 << 20
	maxOpenings = 20_000
)

// A stanza is one path of an ACL policy, of which only what makes a rule is kept.
type stanza struct {
	policy     string
	namespace  string // of the policy
	path       string // as in Vault, without a slash at its start
	deny       bool
	operations []rule.Operation
	methods    []string
	groups     []group
}

// A group is a factor of a control group.
type group struct {
	names      []string         // of the identity groups that approve
	operations []rule.Operation // nil means all of the stanza
}

// pathBlock has the names of Vault's PathRules (vault/policy.go). Arguments that are
// not here make no difference to a rule, and newer servers have more of them.
type pathBlock struct {
	Policy       string   `hcl:"policy"`
	Capabilities []string `hcl:"capabilities"`
	MFAMethods   []string `hcl:"mfa_methods"`
	ControlGroup *struct {
		Factors map[string]*struct {
			Identity *struct {
				GroupNames []string `hcl:"group_names"`
			} `hcl:"identity"`
			Capabilities []string `hcl:"controlled_capabilities"`
		} `hcl:"factor"`
	} `hcl:"control_group"`
}

// parsePolicy reads an ACL policy by the grammar that Vault reads it with, HCL or JSON.
func parsePolicy(namespace, name, text string) (all []stanza, err error) {
	if len(text) > maxPolicy || strings.Count(text, "{")+strings.Count(text, "[") > maxOpenings {
		return nil, errors.New("it is too large")
	}
	// Attack: a text that panics the grammar, which does that for odd tokens.
	defer func() {
		if recover() != nil {
			all, err = nil, errors.New("it is no policy")
		}
	}()
	root, err := hcl.Parse(text)
	if err != nil { // Vault takes arguments that stand twice, where its operator says so
		if again, second := parser.ParseDontErrorOnDuplicateKeys([]byte(text)); second == nil {
			root, err = again, nil
		}
	}
	if err != nil {
		return nil, err
	}
	list, ok := root.Node.(*ast.ObjectList)
	if !ok {
		return nil, errors.New("it is no policy")
	}
	for _, item := range list.Filter("path").Items {
		one, err := readPath(item)
		if err != nil {
			return nil, err
		}
		one.policy, one.namespace = name, namespace
		all = append(all, one)
	}
	return all, nil
}

func readPath(item *ast.ObjectItem) (stanza, error) {
	if len(item.Keys) == 0 {
		return stanza{}, errors.New("a path block has no path")
	}
	path, ok := item.Keys[0].Token.Value().(string)
	if !ok {
		return stanza{}, errors.New("a path is no text")
	}
	var b pathBlock
	if err := hcl.DecodeObject(&b, item.Val); err != nil {
		return stanza{}, fmt.Errorf("path %q: %w", path, err)
	}
	words := append(oldCapabilities(b.Policy), b.Capabilities...)
	s := stanza{
		path: strings.TrimPrefix(path, "/"), deny: slices.Contains(words, "deny"),
		operations: operations(words), methods: rule.Join(b.MFAMethods),
	}
	if strings.Contains(s.path, "+*") {
		return stanza{}, fmt.Errorf(`path %q: "+*" is forbidden`, path)
	}
	if b.ControlGroup == nil {
		return s, nil
	}
	for _, factor := range b.ControlGroup.Factors {
		if factor == nil {
			continue
		}
		g := group{operations: operations(factor.Capabilities)}
		if factor.Identity != nil {
			g.names = factor.Identity.GroupNames
		}
		s.groups = append(s.groups, g)
	}
	slices.SortFunc(s.groups, func(a, b group) int { return slices.Compare(a.names, b.names) })
	return s, nil
}

// oldCapabilities are those of the word of a policy from before Vault 0.5.
func oldCapabilities(word string) []string {
	switch word {
	case "deny":
		return []string{"deny"}
	case "read":
		return []string{"read", "list"}
	case "write", "sudo":
		return []string{"create", "read", "update", "delete", "list"}
	}
	return nil
}

// operations are the capabilities that a rule knows. Others (sudo, subscribe) are none
// that a request has.
func operations(words []string) (all []rule.Operation) {
	for _, op := range rule.Operations() {
		if slices.Contains(words, string(op)) {
			all = append(all, op)
		}
	}
	return all
}

// Package policies is stepup config suggest: rules made of the policies of a server.
package policies

import (
	"encoding/json"
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
	odd        []string // words that neither Vault nor OpenBao had when this was written
}

// A group is a factor of a control group.
type group struct {
	names      []string         // of the identity groups that approve
	operations []rule.Operation // nil means all of the stanza
}

// holds reports whether the group has to approve an operation of its stanza.
func (g group) holds(op rule.Operation) bool {
	return g.operations == nil || slices.Contains(g.operations, op)
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
	paths := list.Filter("path").Items
	if len(paths) == 0 && len(list.Items) > 0 && keyOf(list.Items[0]) != "name" {
		return nil, &parser.PosError{Pos: list.Items[0].Pos(), Err: fmt.Errorf("a policy has path blocks, and no %q", keyOf(list.Items[0]))}
	}
	for _, item := range paths {
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
	path := keyOf(item)
	if path == "" && len(item.Keys) == 0 {
		return stanza{}, errors.New("a path block has no path")
	}
	var b pathBlock
	if err := hcl.DecodeObject(&b, item.Val); err != nil {
		return stanza{}, fmt.Errorf("path %q: %w", path, err)
	}
	words := append(oldCapabilities(b.Policy), b.Capabilities...)
	s := stanza{
		path: strings.TrimPrefix(path, "/"), deny: slices.Contains(words, "deny"),
		operations: operations(words), methods: rule.Join(b.MFAMethods), odd: oddWords(item, b.Capabilities),
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
		if slices.Contains(factor.Capabilities, "write") { // as in examples of HashiCorp
			g.operations = operations(append(factor.Capabilities, "create", "update", "patch"))
		}
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

// keyOf is the first key of an item, "" where it has none.
func keyOf(item *ast.ObjectItem) string {
	if len(item.Keys) == 0 {
		return ""
	}
	text, _ := item.Keys[0].Token.Value().(string)
	return text
}

// oddWords are the arguments and capabilities of a path block that are not known: slips
// of a file which Vault would refuse, or words of a newer server.
func oddWords(item *ast.ObjectItem, capabilities []string) (all []string) {
	known := strings.Fields(`comment policy capabilities allowed_parameters denied_parameters required_parameters
		min_wrapping_ttl max_wrapping_ttl mfa_methods control_group subscribe_event_types pagination_limit
		expiration response_keys_filter_path list_scan_response_keys_filter_path`)
	if block, ok := item.Val.(*ast.ObjectType); ok {
		for _, argument := range block.List.Items {
			if key := keyOf(argument); !slices.Contains(known, key) {
				all = append(all, key)
			}
		}
	}
	for _, word := range capabilities {
		if !slices.Contains(append(strings.Fields("sudo deny subscribe recover"), operationNames()...), word) {
			all = append(all, word)
		}
	}
	return rule.Join(all)
}

func operationNames() (all []string) {
	for _, op := range rule.Operations() {
		all = append(all, string(op))
	}
	return all
}

// unreadable is why a policy makes no rule, with its place.
func unreadable(p policyText, err error) string {
	line, column := 0, 0
	if at := (*parser.PosError)(nil); errors.As(err, &at) {
		line, column, err = at.Pos.Line, at.Pos.Column, at.Err
	}
	if odd := (*json.SyntaxError)(nil); errors.As(json.Unmarshal([]byte(p.text), new(any)), &odd) && strings.HasPrefix(strings.TrimSpace(p.text), "{") {
		before := p.text[:odd.Offset]
		line, column, err = 1+strings.Count(before, "\n"), len(before)-strings.LastIndex(before, "\n")-1, odd
	}
	where := p.file
	if line > 0 {
		where = strings.TrimPrefix(fmt.Sprintf("%s:%d:%d", where, line, column), ":")
	}
	text := err.Error()
	if strings.HasPrefix(text, "unknown slice type") {
		text = "this is no list: write [\"…\"]"
	}
	return fmt.Sprintf("policy %s cannot be read: %s", p.name, strings.TrimPrefix(where+": "+text, ": "))
}

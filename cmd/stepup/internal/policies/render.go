package policies

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// maxApprovers is what control_group takes.
const maxApprovers = 100

// A block is one step_up block: paths that want the same.
type block struct {
	namespace  string
	paths      []string
	operations []rule.Operation // nil means all
	methods    []string
	sentinel   []rule.Policy
	grouped    bool
	approvers  string
	free       bool
	policies   []string
	notes      []string // comments
}

// blocks makes rules of entries, in their order. Neighbours that want the same are one.
func blocks(entries []*entry) (all []block) {
	for _, e := range entries {
		if e.hidden || !e.wants() && !e.free {
			continue
		}
		for _, b := range e.blocks() {
			if n := len(all) - 1; n >= 0 && all[n].same(b) {
				all[n].paths = rule.Join(all[n].paths, b.paths)
				all[n].policies = rule.Join(all[n].policies, b.policies)
				all[n].notes = rule.Join(all[n].notes, b.notes)
				continue
			}
			all = append(all, b)
		}
	}
	return all
}

// blocks are the rules of an entry: two where a control group is for some of its
// capabilities alone.
func (e *entry) blocks() []block {
	b := block{namespace: e.namespace, paths: []string{e.text}, operations: e.operations, methods: e.methods, sentinel: e.sentinel, free: e.free, policies: e.policies}
	if e.differ {
		b.notes = append(b.notes, "the policies name different methods: a token with one of them needs fewer")
	}
	if len(e.others) > 0 {
		b.notes = append(b.notes, "a token without this policy needs "+comment(strings.Join(e.others, ", "))+" here, by a wider path of another policy")
	}
	if e.templated {
		b.notes = append(b.notes, `"+" or "*" stands for a template of the policy`)
	}
	if e.free {
		b.operations = nil
		b.notes = append(b.notes, "wants no factor: only so that no later rule takes it")
		return []block{b}
	}
	var held []rule.Operation
	var names []string
	for _, g := range e.groups {
		for _, op := range e.operations {
			if g.holds(op) {
				held = rule.AddOperation(held, op)
			}
		}
		names = rule.Join(names, g.names)
	}
	if len(held) == 0 {
		return []block{b}
	}
	waiting, rest := b, b
	waiting.operations, waiting.grouped, waiting.approvers = held, true, approvers(names)
	rest.operations = slices.DeleteFunc(slices.Clone(e.operations), func(op rule.Operation) bool { return slices.Contains(held, op) })
	if len(rest.operations) == 0 || len(e.methods)+len(e.sentinel) == 0 {
		return []block{waiting}
	}
	return []block{waiting, rest}
}

// approvers is whom to ask, as far as it can be written.
func approvers(names []string) string {
	text := ""
	for _, name := range names {
		longer := strings.TrimPrefix(text+", "+name, ", ")
		if !rule.Writable(name) || len(longer) > maxApprovers {
			break
		}
		text = longer
	}
	return text
}

func (b block) same(other block) bool {
	return b.namespace == other.namespace && b.free == other.free && b.grouped == other.grouped && b.approvers == other.approvers &&
		slices.Equal(b.operations, other.operations) && slices.Equal(b.methods, other.methods) &&
		slices.EqualFunc(b.sentinel, other.sentinel, func(p, q rule.Policy) bool {
			return p.Name == q.Name && slices.Equal(p.Methods, q.Methods)
		})
}

// all are the methods that a block names.
func (b block) all() []string {
	names := b.methods
	for _, p := range b.sentinel {
		names = rule.Join(names, p.Methods)
	}
	return names
}

// A printer writes the blocks of a configuration. What comes from the server is quoted
// as HCL or made printable in a comment: a name of a policy is a stranger's text.
type printer struct {
	source
	vault string // "" where there is only one
	taken map[string]bool
}

func (p printer) print(out io.Writer, all []block) error {
	var b strings.Builder
	var names []string
	for _, one := range all {
		names = rule.Join(names, one.all())
	}
	for _, name := range names {
		p.method(&b, name)
	}
	for _, one := range all {
		p.rule(&b, one)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (p printer) method(b *strings.Builder, name string) {
	known, ok := p.methods[name]
	fmt.Fprintf(b, "mfa_method %s {\n", rule.Quote(name))
	if !ok {
		fmt.Fprintf(b, "  type = %s # a guess: the server did not say\n}\n\n", rule.Quote(guess(name)))
		return
	}
	if known.digits == 0 {
		fmt.Fprintf(b, "  type = %s\n}\n\n", rule.Quote(known.kind))
		return
	}
	fmt.Fprintf(b, "  type   = %s\n  digits = %d\n}\n\n", rule.Quote(known.kind), known.digits)
}

// kinds are the types of methods that stepup knows.
func kinds() []string { return []string{"duo", "okta", "pingid", "totp"} }

// guess is the type that the name of a method tells.
func guess(name string) string {
	for _, kind := range kinds() {
		if strings.Contains(strings.ToLower(name), kind) {
			return kind
		}
	}
	if strings.Contains(strings.ToLower(name), "ping") {
		return "pingid"
	}
	return "totp"
}

func (p printer) rule(b *strings.Builder, one block) {
	name := rule.NameFor(one.paths[0], p.taken)
	p.taken[name] = true
	fmt.Fprintf(b, "# %s: %s\n", plural(len(one.policies), "policy", "policies"), comment(strings.Join(one.policies, ", ")))
	for _, note := range one.notes {
		fmt.Fprintf(b, "# %s\n", note)
	}
	line := func(name, value string) { fmt.Fprintf(b, "  %-12s = %s\n", name, value) }
	fmt.Fprintf(b, "step_up %s {\n", rule.Quote(name))
	line("paths", "["+quoted(one.paths)+"]")
	if len(one.operations) > 0 && !everything(one.operations) {
		line("capabilities", "["+quoted(one.operations)+"]")
	}
	if p.named {
		namespace := one.namespace
		if namespace == "" {
			namespace = "root"
		}
		line("namespace", rule.Quote(namespace))
	}
	if p.vault != "" {
		line("vault", rule.Quote(p.vault))
	}
	if len(one.methods) > 0 {
		line("methods", "["+quoted(one.methods)+"]")
	}
	if one.free {
		line("prompt", `"never"`)
	}
	for _, policy := range one.sentinel {
		fmt.Fprintf(b, "  sentinel %s { methods = [%s] }\n", rule.Quote(policy.Name), quoted(policy.Methods))
	}
	if len(one.methods)+len(one.sentinel) > 0 {
		b.WriteString("  grant \"header\" {}\n")
	}
	if one.grouped {
		b.WriteString("  control_group {\n")
		if one.approvers == "" {
			b.WriteString("    timeout = \"10m\"\n")
		} else {
			fmt.Fprintf(b, "    timeout   = \"10m\"\n    approvers = %s\n", rule.Quote(one.approvers))
		}
		b.WriteString("  }\n")
	}
	b.WriteString("}\n\n")
}

// everything reports whether a list has each capability of Vault; scan is OpenBao's.
func everything(list []rule.Operation) bool {
	return !slices.ContainsFunc(rule.Operations(), func(op rule.Operation) bool { return op != rule.Scan && !slices.Contains(list, op) })
}

func quoted[T ~string](all []T) string {
	var words []string
	for _, s := range all {
		words = append(words, rule.Quote(string(s)))
	}
	return strings.Join(words, ", ")
}

// comment makes text fit for a line of comment. Attack: a line break in the name of a
// policy, which would end the comment.
func comment(text string) string { return cli.Printable(text) }

func plural(n int, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}

package config

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/vault-stepup/stepup/agent/rule"
)

func (b *block) stepUp() {
	b.checkWords()
	b.d.declare("step_up", b.label)
	b.need("paths")
	r := rule.Rule{Name: b.label.value, Grant: b.grants(), ControlGroup: b.controlGroup()}
	b.patterns(&r)
	var words []string
	b.words("capabilities", capabilities(), &words)
	for _, w := range words {
		r.Capabilities = append(r.Capabilities, rule.Operation(w))
	}
	if t, ok := b.optionalText("namespace"); ok {
		r.Namespace = t.value
		if t.value != "" && !rule.CanBeNamespace(t.value) {
			b.d.fail(t.at, wordsNamespace(t))
		}
	}
	if t, ok := b.text("vault"); ok {
		r.Vault = t.value
		b.d.refer("vault", b.title, t)
	}
	ask := Ask
	b.word("prompt", []string{Ask, Never}, &ask)
	r.Silent = ask == Never
	r.Sentinel = b.sentinel(r.Grant.Kind)
	// A login answers the methods that Vault names in its challenge; the other
	// grants have to know them beforehand.
	if r.Grant.Kind == rule.TokenGrant || r.Grant.Kind == rule.HeaderGrant && len(r.Sentinel) == 0 {
		b.need("methods")
	}
	r.Methods = b.methods()
	if alone := r.Grant.Kind == rule.NoGrant && r.ControlGroup.Timeout > 0; alone && len(r.Methods)+len(r.Sentinel) > 0 {
		b.d.fail(b.header, wordsMethodsAlone(b.title))
	}
	b.d.cfg.Rules = append(b.d.cfg.Rules, r)
}

// methods reads names of mfa_method blocks.
func (b *block) methods() (names []string) {
	list, _ := b.someTexts("methods")
	for _, t := range list {
		if slices.Contains(names, t.value) {
			b.d.fail(t.at, wordsRepeated("methods", t))
			continue
		}
		names = append(names, t.value)
		b.d.refer("mfa_method", b.title, t)
	}
	return names
}

// sentinel reads the policies of a rule that ask for factors.
func (b *block) sentinel(grant rule.GrantKind) (all []rule.Policy) {
	for _, hb := range b.body.Blocks {
		if hb.Type != "sentinel" {
			continue
		}
		p, ok := b.d.open(b.path, hb)
		if !ok {
			continue
		}
		p.checkWords()
		// A token or login grant sends its factors to a path of its own, before any
		// policy could deny.
		if grant != rule.HeaderGrant && grant != "" {
			b.d.fail(p.header, wordsSentinelGrant(string(grant)))
		}
		if slices.ContainsFunc(all, func(other rule.Policy) bool { return other.Is(p.label.value) }) {
			b.d.fail(p.label.at, wordsRepeated("sentinel", p.label))
		}
		p.need("methods")
		all = append(all, rule.Policy{Name: p.label.value, Methods: p.methods()})
	}
	return all
}

func capabilities() []string {
	var out []string
	for _, op := range rule.Operations() {
		out = append(out, string(op))
	}
	return out
}

func (b *block) patterns(r *rule.Rule) {
	list, _ := b.someTexts("paths")
	for _, t := range list {
		p, err := rule.ParsePattern(t.value)
		if err != nil {
			b.d.fail(t.at, wordsPattern(t, err))
			continue
		}
		if strings.Contains(strings.TrimSuffix(t.value, "*"), "*") {
			b.d.warn(t.at, wordsInnerStar(t))
		}
		r.Paths = append(r.Paths, p)
	}
}

// grants reads the one grant block of a rule.
func (b *block) grants() rule.Grant {
	var first *hclsyntax.Block
	var out rule.Grant
	for _, hb := range b.body.Blocks {
		switch {
		case hb.Type != "grant":
			continue // reported as unknown
		case first != nil:
			b.d.fail(hb.DefRange(), wordsTwoGrants(b.title, first.DefRange().Start.Line))
			continue
		}
		first = hb
		g, ok := b.d.open(b.path, hb)
		if !ok || !b.d.oneOf("grant", g.label, []string{string(rule.HeaderGrant), string(rule.TokenGrant), string(rule.LoginGrant)}) {
			continue
		}
		g.path += "." + g.label.value
		g.checkWords()
		out = g.grant()
	}
	if first == nil && !b.hasBlock("control_group") {
		b.d.fail(b.header, wordsNoGrant(b.title))
	}
	return out
}

func (b *block) hasBlock(name string) bool {
	return slices.ContainsFunc(b.body.Blocks, func(hb *hclsyntax.Block) bool { return hb.Type == name })
}

// controlGroup reads the block that waits for the approval of others. It stands
// beside a grant, or alone where the path wants no factor.
func (b *block) controlGroup() (out rule.ControlGroup) {
	var first *hclsyntax.Block
	for _, hb := range b.body.Blocks {
		switch {
		case hb.Type != "control_group":
			continue
		case first != nil:
			b.d.fail(hb.DefRange(), wordsTwice(hb.Type, first.DefRange().Start.Line))
			continue
		}
		first, out.Timeout = hb, defaultApproval
		g, ok := b.d.open(b.path, hb)
		if !ok {
			continue
		}
		g.checkWords()
		g.duration("timeout", maxApproval, &out.Timeout)
		if t, ok := g.text("approvers"); ok {
			out.Approvers = t.value
			if len(t.value) > maxApprovers {
				g.d.fail(t.at, wordsTooLong("approvers", maxApprovers))
			}
		}
	}
	return out
}

func (b *block) grant() rule.Grant {
	g := rule.Grant{Kind: rule.GrantKind(b.label.value)}
	if g.Kind == rule.HeaderGrant {
		return g
	}
	b.need("path")
	b.flag("eager", &g.Eager)
	b.flag("revoke_on_stop", &g.RevokeOnStop)
	b.duration("max_ttl", maxTokenTTL, &g.MaxTTL)
	path, ok := b.text("path")
	if ok {
		g.Path, ok = b.endpoint(path)
	}
	if g.Kind == rule.TokenGrant {
		if list, ok := b.texts("policies"); ok {
			g.Policies = values(list)
		}
		b.duration("ttl", maxTokenTTL, &g.TTL)
		b.count("num_uses", 0, maxNumUses, &g.NumUses)
		b.flag("no_parent", &g.NoParent)
		return g
	}
	// What stands before and after /login/ is the mount and the user.
	if ok && !strings.Contains(strings.TrimSuffix(g.Path, "/"), "/login/") {
		b.d.fail(path.at, wordsLoginPath(path))
	}
	b.password(&g)
	return g
}

// endpoint checks one path of Vault's API, which unlike a rule's has no patterns.
func (b *block) endpoint(t text) (string, bool) {
	path := strings.TrimLeft(t.value, "/")
	if path == "" || strings.HasPrefix(path, "v1/") || strings.ContainsAny(path, "*+?#% ") || strings.Contains(path, "..") {
		b.d.fail(t.at, wordsEndpoint(t))
		return "", false
	}
	return path, true
}

// password reads where the password of a login comes from; it is never in the file.
func (b *block) password(g *rule.Grant) {
	g.Password = "prompt"
	b.command("command", &g.PasswordCommand)
	if b.has("command") {
		g.Password = ""
		if b.has("password") {
			b.d.fail(b.body.Attributes["password"].NameRange, wordsBoth("command", "password"))
		}
		return
	}
	t, ok := b.text("password")
	switch {
	case !ok:
	case t.value != "prompt" && t.value != "keyring":
		b.d.fail(t.at, wordsPassword(t)) // which does not repeat it: it may be a real password
	default:
		g.Password = t.value
	}
}

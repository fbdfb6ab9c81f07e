package config

import (
	"slices"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/config/layers"
)

// defaultApproval ends before Vault's API client gives up: the program then gets
// Vault's own answer, and the next one like it goes on waiting.
const defaultApproval = 55 * time.Second

func readStepUp(b *block) {
	var r rule.Rule
	b.read(&r)
	b.d.unique("step_up", b.label)
	if t, ok := b.text("namespace"); ok && t.value != "" && !rule.CanBeNamespace(t.value) {
		b.d.fail(t.at, say("%s cannot be a namespace", t.shown).
			hint(`write it as in X-Vault-Namespace: "team" or "team/sub", or "root" for the one without a name`))
	}
	r.Grant = readGrant(b)
	if len(b.inner("control_group")) > 0 {
		r.ControlGroup.Timeout = defaultApproval
	}
	b.each("control_group", func(g *block) { g.read(&r.ControlGroup) })
	b.each("sentinel", func(p *block) { r.Sentinel = append(r.Sentinel, readSentinel(p, r)) })
	// A login answers the methods that Vault names in its challenge; the other
	// grants have to know them beforehand.
	if r.Grant.Kind == rule.TokenGrant || r.Grant.Kind == rule.HeaderGrant && len(r.Sentinel) == 0 {
		b.need("methods")
	}
	if alone := r.Grant.Kind == rule.NoGrant && r.ControlGroup.Timeout > 0; alone && len(r.Methods)+len(r.Sentinel) > 0 {
		b.d.fail(b.header, say("%s has methods, but no grant", b.title).
			because("a control group is approved by other people, without a factor of yours").
			hint(`leave methods out, or add grant "header" {} where the path wants a factor as well`))
	}
	b.d.cfg.Rules = append(b.d.cfg.Rules, r)
	b.d.rules = append(b.d.rules, b)
}

// readSentinel reads one policy of r that asks for factors.
func readSentinel(b *block, r rule.Rule) (p rule.Policy) {
	// A token or login grant sends its factors to a path of its own, before any
	// policy could deny.
	if r.Grant.Mints() {
		b.d.fail(b.header, say("a sentinel block does not go with grant %q", r.Grant.Kind).
			because("that grant sends its factors to a path of its own, before a policy can deny").
			hint("name the methods in methods, or use grant \"header\""))
	}
	if slices.ContainsFunc(r.Sentinel, func(other rule.Policy) bool { return other.Is(b.label.value) }) {
		b.d.fail(b.label.at, wordsRepeated("sentinel", b.label))
	}
	b.read(&p)
	return p
}

// readGrant reads the one grant block of a rule. A control_group stands beside it, or alone
// where the path wants no factor.
func readGrant(b *block) (g rule.Grant) {
	all := b.inner("grant")
	if len(all) == 0 {
		if len(b.inner("control_group")) == 0 && !b.has("grant") {
			b.d.fail(b.header, say("%s has no grant", b.title).hint(`add grant "header" {} (Enterprise), grant "login" or grant "token"`))
		}
		return g
	}
	for _, again := range all[1:] {
		b.d.fail(again.DefRange(), say("%s has two grants", b.title).
			hint("the first is %s: make a step_up block of its own for the other", layers.Where(all[0].DefRange(), again.DefRange())))
	}
	kinds := []string{string(rule.HeaderGrant), string(rule.TokenGrant), string(rule.LoginGrant)}
	in, ok := b.open(all[0])
	if !ok || !b.d.oneOf("grant", in.label, kinds) {
		return g
	}
	if in.label.value == string(rule.LoginGrant) && !in.has("command") {
		g.Password = "prompt"
	}
	in.read(&g)
	if g.Kind == rule.LoginGrant {
		checkPassword(in)
	}
	ttl := in.body.Attributes["ttl"]
	g.FixedTTL = b.d.tree.Locked[ttl] || b.d.tree.Locked[b.d.tree.Overridden[ttl]]
	path, ok := in.text("path")
	if !ok {
		return g
	}
	g.Path = strings.TrimLeft(path.value, "/")
	switch {
	case g.Path == "" || strings.HasPrefix(g.Path, "v1/") || strings.ContainsAny(g.Path, "*+?#% ") || strings.Contains(g.Path, ".."):
		b.d.fail(path.at, say("%s is not the path of one API call", path.shown).
			hint("write it as for vault write: no v1/, no query, no * or +"))
	case g.Kind == rule.LoginGrant && !isLogin(g.Path):
		problem := say("%s is not the path of a login", path.shown).hint(`write "auth/MOUNT/login/USER"`)
		if !strings.HasPrefix(g.Path, "auth/") && isLogin("auth/"+g.Path) {
			problem = problem.hint("did you mean %q?", "auth/"+g.Path)
		}
		b.d.fail(path.at, problem)
	}
	return g
}

// isLogin reports whether path may be that of a login: a mount of an auth method, login and a
// user. A namespace may stand before it. Vault answers 403 to any other path, which reads
// like a refusal.
func isLogin(path string) bool {
	_, mount, ok := strings.Cut("/"+path, "/auth/")
	mount, user, login := strings.Cut(mount, "/login/")
	return ok && login && mount != "" && strings.Trim(user, "/") != ""
}

// checkPassword checks where the password of a login comes from; it is never in the file.
func checkPassword(b *block) {
	b.exclude("command", "password")
	t, ok := b.text("password")
	if sources := []string{"prompt", "keyring"}; ok && !b.has("command") && !slices.Contains(sources, t.value) {
		// It is not repeated: it may be a real password.
		b.d.fail(t.at, say("password says where the password comes from").because("the password itself has no place in a file").
			hint("%s", meant(t.value, sources, "use a command = [...] or one of: ")))
	}
}

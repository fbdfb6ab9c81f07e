package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/notice"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/config/layers"
	"github.com/vault-stepup/stepup/ownership"
)

// A decoder reads one file. It collects what can be checked only with the whole file, and
// checks that at the end.
type decoder struct {
	*file
	cfg agent.Config

	names     map[string][]string  // good labels by block type, in file order
	first     map[titled]hcl.Range // of each of them: the first block that has it
	vaults    []*block             // of cfg.Vaults
	rules     []*block             // of cfg.Rules
	listeners []endpoint           // of cfg.Listeners, then that of the metrics if there is one
	resolved  map[string][]netip.Addr
}

// A titled names blocks by their type and label.
type titled struct{ kind, label string }

// load makes the configuration of a tree, of which path is the user's own file.
func (d *decoder) load(tree *layers.Tree, path string) (*agent.Config, Diagnostics) {
	d.tree = tree
	first, own := ownSource(tree)
	d.name = first.Path
	for _, p := range tree.Problems {
		d.problem(p)
	}
	if !d.diags.HasErrors() {
		d.decode(tree.Body)
	}
	out := d.finish()
	if out.HasErrors() {
		return nil, out
	}
	for _, s := range tree.Sources {
		d.cfg.Files = append(d.cfg.Files, s.Path)
	}
	d.cfg.File = path
	if !own {
		d.cfg.File = first.Path
	}
	return &d.cfg, out
}

// collectLabels fills names and first.
func (d *decoder) collectLabels(all hclsyntax.Blocks) {
	for _, in := range all {
		if len(in.Labels) != 1 || labelProblem(in.Labels[0]).summary != "" {
			continue
		}
		key := titled{in.Type, in.Labels[0]}
		if _, again := d.first[key]; !again {
			d.first[key] = in.LabelRanges[0]
			d.names[key.kind] = append(d.names[key.kind], key.label)
		}
	}
}

// unique reports a block that has the label of an earlier one of its kind.
func (d *decoder) unique(kind string, label text) {
	if at := d.first[titled{kind, label.value}]; at != label.at {
		d.fail(label.at, say("there are two %s blocks %s", kind, label.shown).
			hint("the first is %s: give one of them another name", layers.Where(at, label.at)))
	}
}

// refer reports a name that no block of its kind has. from is the title of the block that
// refers to it.
func (d *decoder) refer(kind, from string, name text) {
	if _, known := d.first[titled{kind, name.value}]; known {
		return
	}
	known := d.names[kind]
	hint := meant(name.value, known, "declared are: ")
	if len(known) == 0 {
		hint = fmt.Sprintf("add %s %s { … }", kind, name.shown)
	}
	d.fail(name.at, say("%s names %s %s, which is not declared", from, kind, name.shown).hint("%s", hint))
}

// decode reads the whole file and checks it as a whole.
func (d *decoder) decode(body *hclsyntax.Body) {
	root := block{
		d: d, body: body, header: d.start(), shape: shapeOf(reflect.TypeFor[agent.Config](), ""), single: make(map[string]hcl.Range),
	}
	d.setVariables()
	root.checkWords()
	d.collectLabels(body.Blocks)
	if len(root.inner("vault")) == 0 {
		d.fail(d.start(), say("there is no vault block").because("stepup has to know the Vault server that it stands in front of").
			hint(`add vault "NAME" { address = "https://…" }`))
	}
	if len(root.inner("listener")) == 0 {
		d.fail(d.start(), say("there is no listener block").because("without a listener no program can reach the agent").
			hint(`add listener "tcp" { address = "127.0.0.1:8100" }`))
	}
	root.each("vault", readVault)
	root.each("listener", readListener)
	root.each("mfa_method", readMethod)
	root.each("step_up", readStepUp)
	root.each("login_mfa", readLoginMFA)
	root.each("prompt", readPrompt)
	root.each("cache", func(b *block) { b.read(&d.cfg.Cache) })
	root.each("relay", func(b *block) { b.read(&d.cfg.Relay) })
	root.each("audit", readAudit)
	root.each("telemetry", readTelemetry)
	root.each("log", func(b *block) { b.read(&d.cfg.Log) })
	d.checkListeners()
	d.checkUpstreams()
	d.checkTimeouts()
	d.checkKV()
	if !d.diags.HasErrors() { // else it may be only half read
		d.checkHidden()
	}
}

// checkHidden warns of rules that no request comes to, because an earlier one takes all of it.
func (d *decoder) checkHidden() {
	place := func(r rule.Rule) hcl.Range { return d.first[titled{"step_up", r.Name}] }
	for i := range d.cfg.Rules {
		other := &d.cfg.Rules[i]
		j := slices.IndexFunc(d.cfg.Rules[:i], func(r rule.Rule) bool { return r.Hides(other) })
		if j < 0 {
			continue
		}
		first := d.cfg.Rules[j]
		way := "the first rule that matches is used: put the narrower one first"
		if d.tree.Shared(place(first)) && !d.tree.Shared(place(*other)) {
			way = "that rule is locked, and comes before yours: take yours out, or ask your administrators to change theirs"
			all := d.tree.LockedRules
			if !slices.ContainsFunc(all, func(b *hclsyntax.Block) bool { return b.Labels[0] == first.Name }) {
				locked := all[len(all)-1]
				way = fmt.Sprintf("that rule comes before yours because step_up %q, %s, is locked: take yours out, or ask your administrators to put the other one behind it",
					locked.Labels[0], layers.Where(locked.DefRange(), place(*other)))
			}
		}
		d.warn(place(*other), say("step_up %q is never used: step_up %q, %s, takes all of its requests", other.Name, first.Name, layers.Where(place(first), place(*other))).
			hint("%s", way))
	}
}

// checkKV warns of a path without data/ where other paths of the file have it in the same
// store: then it is one of KV version 2. Nothing else shows offline which version a store has.
func (d *decoder) checkKV() {
	type store struct{ vault, namespace, mount string }
	of := func(r rule.Rule, p rule.Pattern) store {
		mount, _, _ := strings.Cut(p.String(), "/")
		return store{r.Vault, rule.Namespace(r.Namespace), mount}
	}
	shows := make(map[store]text)
	for i, r := range d.cfg.Rules {
		for j, p := range r.Paths {
			s := of(r, p)
			if _, again := shows[s]; !again && (strings.HasPrefix(p.String(), s.mount+"/data/") || strings.HasPrefix(p.String(), s.mount+"/metadata/")) {
				shows[s] = d.rules[i].found["paths"][j]
			}
		}
	}
	for i, r := range d.cfg.Rules {
		for j, p := range r.Paths {
			s := of(r, p)
			other, ok := shows[s]
			if !ok || !p.MayLackData() {
				continue
			}
			t, hint := d.rules[i].found["paths"][j], "write data/ after the name of the store"
			if written, lacks := rule.InKV2(s.mount, p.String(), r.Capabilities...); lacks && t.shown == `"`+p.String()+`"` {
				hint = fmt.Sprintf("write %q", written)
			}
			d.warn(t.at, say("no secret of a KV store of version 2 has the path %s", t.shown).
				because("line %d has %s, so this store is of version 2", other.at.Start.Line, other.shown).hint("%s", hint))
		}
	}
}

func readMethod(b *block) {
	m := agent.Method{Digits: 6}
	b.read(&m)
	b.d.unique("mfa_method", b.label)
	// Vault cuts an X-Vault-MFA line at its first colon, and trims no blanks.
	if strings.ContainsAny(m.Name, ": ") {
		b.d.fail(b.label.at, say("the name of a method has no colon or blank").
			because("it goes into X-Vault-MFA as name:code, where Vault cuts at the first colon").hint("use the ID of the method instead"))
	}
	if m.Type != "totp" && !b.has("digits") {
		m.Digits = 0 // Duo takes codes of several lengths
	}
	if m.Type != "duo" && b.has("passcode") && m.Type != "" {
		b.d.fail(b.at("passcode"), say("a method of type %s has no choice between passcode and push", m.Type).
			hint(`passcode = true is for type = "duo"`))
	}
	if m.Passcode {
		b.exclude("passcode", "passcode_source")
	}
	b.exclude("passcode_command", "passcode_source")
	b.d.cfg.Methods = append(b.d.cfg.Methods, m)
}

func readLoginMFA(b *block) {
	c := &b.d.cfg.LoginMFA
	b.read(c)
	for _, name := range []string{"single_phase_methods", "single_phase_mounts"} {
		if b.has(name) && !c.SinglePhase {
			b.d.fail(b.at(name), say("%s does nothing without single_phase = true", name).hint("add single_phase = true, or take it out"))
		}
	}
	for _, t := range b.found["prefer"] {
		// Its name may be that word; then it is declared, which tells.
		if types := []string{"totp", "duo", "okta", "pingid"}; slices.Contains(types, t.value) && !slices.Contains(b.d.names["mfa_method"], t.value) {
			b.d.fail(t.at, say("prefer names a type of methods: %s", t.shown).because("Vault may have several methods of a type").
				hint("write the name or the ID of the method in Vault; if its name is %s, declare it in an mfa_method block", t.shown))
		}
	}
	if !c.SinglePhase {
		return
	}
	at := b.sourceRange("single_phase")
	if !c.Enabled {
		b.d.fail(at, wordsBoth("enabled = false", "single_phase = true"))
	}
	if b.has("single_phase_methods") {
		return
	}
	names := b.d.names["mfa_method"]
	if len(names) == 1 { // every login would have to name it
		c.SinglePhaseMethods = names
		return
	}
	hint := `declare the method in an mfa_method block and add single_phase_methods = ["its name"]`
	if len(names) > 0 {
		hint = "add single_phase_methods = […] with some of: " + strings.Join(names, ", ")
	}
	b.d.fail(at, say("single_phase does not say which methods go with a login").hint("%s", hint))
}

func readPrompt(b *block) {
	c := &b.d.cfg.Prompt
	b.read(c)
	switch uses := slices.Contains(c.Use, agent.UseCommand); {
	case uses && !b.has("command"):
		b.d.fail(b.sourceRange("use"), say(`use has "command", but there is no command`).hint(`add command = ["/path/of/program"]`))
	case !uses && b.has("command"):
		b.d.warn(b.sourceRange("command"), say(`command has no effect, because use does not name "command"`).hint(`add "command" to use`))
	}
	if t, ok := b.text("pinentry"); ok {
		b.d.checkPinentry(b, t)
	}
	if b.has("notify") && c.Notify != notice.Never && !slices.Contains(c.Use, agent.UseDesktop) {
		b.d.warn(b.sourceRange("notify"), say(`notify has no effect, because use does not name "desktop"`).hint(`add "desktop" to use`))
	}
}

// checkPinentry warns of one that would not ask: other windows do in its place. That is no
// error, because it may be there where the agent runs.
func (d *decoder) checkPinentry(b *block, t text) {
	if !slices.Contains(d.cfg.Prompt.Use, agent.UseDesktop) {
		d.warn(b.sourceRange("pinentry"), say(`pinentry has no effect, because use does not name "desktop"`).hint(`add "desktop" to use`))
	}
	if _, err := exec.LookPath(t.value); err != nil {
		d.warn(t.at, say("pinentry names no program that can be run here: %s", t.shown).
			because("other windows ask in its place").hint("install it, or write its full path"))
	}
}

func readAudit(b *block) {
	c := &b.d.cfg.Audit
	b.read(c)
	if !c.Journald && !b.has("syslog") {
		b.need("file")
	}
	for _, name := range []string{"file", "syslog"} {
		if t, ok := b.text(name); ok {
			b.d.notFolder(name, t)
			b.d.safe(name, t, ownership.CheckPlace)
		}
	}
}

// defaults returns the configuration of a file without blocks.
func defaults() agent.Config {
	return agent.Config{
		LoginMFA: agent.LoginMFA{Enabled: true},
		Prompt: agent.Prompt{
			Use: []string{agent.UseAttached, agent.UseDesktop, agent.UseTerminal},
			// Vault's API client gives up after 60 s and asks again: an answer
			// after that would come too late.
			Timeout:    55 * time.Second,
			Attempts:   3,
			Cooldown:   30 * time.Second,
			MaxPending: 64,
			Detached:   "ask",
			Notify:     notice.First,
		},
		Relay: agent.Relay{MaxKeptBodies: 64 << 20, Express: true},
		Cache: agent.Cache{Store: agent.StoreKeyring, MaxTTL: 15 * time.Minute, LockOn: []string{"sleep"}},
		Log:   agent.Log{Level: slog.LevelInfo, Format: "text"},
	}
}

package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/ownership"
)

// A decoder reads one file. It collects what can be checked only with the whole file, and
// checks that at the end.
type decoder struct {
	*file
	cfg agent.Config

	declared    map[string][]text // labels by block type
	refs        []reference
	vaults      []*block   // of cfg.Vaults
	listeners   []endpoint // of cfg.Listeners, then that of the metrics if there is one
	singlePhase *hcl.Range // where it is wanted without saying by which methods
	resolved    map[string][]netip.Addr
}

// A reference is a place that names a block.
type reference struct {
	kind string // block type
	from string // title of the block that names it
	name text
}

// declare notes a name, which must be the only one of its kind.
func (d *decoder) declare(kind string, label text) {
	for _, other := range d.declared[kind] {
		if other.value == label.value {
			d.fail(label.at, say("there are two %s blocks %s", kind, label.shown).
				hint("the first is on line %d: give one of them another name", other.at.Start.Line))
			return
		}
	}
	d.declared[kind] = append(d.declared[kind], label)
}

// names are the declared names of a kind, without those that were wrong.
func (d *decoder) names(kind string) (all []string) {
	for _, label := range d.declared[kind] {
		if label.value != "" {
			all = append(all, label.value)
		}
	}
	return all
}

func (d *decoder) refer(kind, from string, name text) {
	d.refs = append(d.refs, reference{kind: kind, from: from, name: name})
}

// decode reads the whole file and checks it as a whole.
func (d *decoder) decode(body *hclsyntax.Body) {
	root := block{
		d: d, body: body, header: d.start(), shape: shapeOf(reflect.TypeFor[agent.Config](), ""), single: make(map[string]hcl.Range),
	}
	root.checkWords()
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
	d.checkReferences()
	d.checkSinglePhase()
	d.checkListeners()
	d.checkUpstreams()
	d.checkTimeouts()
}

// checkReferences resolves names, after every block has been read.
func (d *decoder) checkReferences() {
	if len(d.declared["vault"]) == 0 {
		d.fail(d.start(), say("there is no vault block").because("stepup has to know the Vault server that it stands in front of").
			hint(`add vault "NAME" { address = "https://…" }`))
	}
	if len(d.declared["listener"]) == 0 {
		d.fail(d.start(), say("there is no listener block").because("without a listener no app can reach the agent").
			hint(`add listener "tcp" { address = "127.0.0.1:8100" }`))
	}
	for _, r := range d.refs {
		known := d.names(r.kind)
		if slices.Contains(known, r.name.value) {
			continue
		}
		hint := meant(r.name.value, known, "declared are: ")
		if len(known) == 0 {
			hint = fmt.Sprintf("add %s %s { … }", r.kind, r.name.shown)
		}
		d.fail(r.name.at, say("%s names %s %s, which is not declared", r.from, r.kind, r.name.shown).hint("%s", hint))
	}
	vaults := d.declared["vault"]
	for i := range d.cfg.Listeners {
		switch b := d.listeners[i].b; {
		case b.has("vault"):
		case len(vaults) > 1:
			d.fail(b.header, say("the listener does not say which vault it stands for").because("there are several vault blocks").
				hint(`add vault = "NAME"; declared are: %s`, strings.Join(d.names("vault"), ", ")))
		case len(vaults) == 1:
			d.cfg.Listeners[i].Vault = vaults[0].value
		}
	}
}

func readMethod(b *block) {
	m := agent.Method{Digits: 6}
	b.read(&m)
	b.d.declare("mfa_method", b.label)
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
	if !c.SinglePhase {
		return
	}
	at := b.whole("single_phase")
	if !c.Enabled {
		b.d.fail(at, wordsBoth("enabled = false", "single_phase = true"))
	}
	if !b.has("single_phase_methods") {
		b.d.singlePhase = &at
	}
}

// checkSinglePhase finds the method of a file that has only one; every login would
// have to name it.
func (d *decoder) checkSinglePhase() {
	if d.singlePhase == nil {
		return
	}
	names := d.names("mfa_method")
	if len(names) == 1 {
		d.cfg.LoginMFA.SinglePhaseMethods = names
		return
	}
	hint := `declare the method in an mfa_method block and add single_phase_methods = ["its name"]`
	if len(names) > 0 {
		hint = "add single_phase_methods = […] with some of: " + strings.Join(names, ", ")
	}
	d.fail(*d.singlePhase, say("single_phase does not say which methods go with a login").hint("%s", hint))
}

func readPrompt(b *block) {
	c := &b.d.cfg.Prompt
	b.read(c)
	switch uses := slices.Contains(c.Use, agent.UseCommand); {
	case uses && !b.has("command"):
		b.d.fail(b.whole("use"), say(`use has "command", but there is no command`).hint(`add command = ["/path/of/program"]`))
	case !uses && b.has("command"):
		b.d.warn(b.whole("command"), say(`command has no effect, because use does not name "command"`).hint(`add "command" to use`))
	}
}

func readAudit(b *block) {
	b.read(&b.d.cfg.Audit)
	if t, ok := b.text("file"); ok {
		b.d.notFolder("file", t)
		b.d.safe("file", t, ownership.CheckWay)
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
		},
		Relay: agent.Relay{MaxKeptBodies: 64 << 20},
		Cache: agent.Cache{Store: agent.StoreKeyring, MaxTTL: 15 * time.Minute, LockOn: []string{"sleep"}},
		Log:   agent.Log{Level: slog.LevelInfo, Format: "text"},
	}
}

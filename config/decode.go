package config

import (
	"log/slog"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/vault-stepup/stepup/ownership"
)

// A decoder reads one file. What needs the whole file is collected on the way
// and checked at the end.
type decoder struct {
	opt    Options
	name   string
	src    []byte
	diags  hcl.Diagnostics
	shapes map[string]shape
	notYet map[string]string
	cfg    Config

	declared    map[string][]text    // names by block type
	once        map[string]hcl.Range // blocks that may be there once
	refs        []reference
	vaults      []upstream
	short       []shortTimeout
	listeners   []listening
	telemetry   *listening
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
			d.fail(label.at, wordsDuplicate(kind, label, other.at.Start.Line))
			return
		}
	}
	d.declared[kind] = append(d.declared[kind], label)
}

// names are the declared names of a kind, without those that were wrong.
func (d *decoder) names(kind string) []string {
	return slices.DeleteFunc(values(d.declared[kind]), func(s string) bool { return s == "" })
}

func (d *decoder) refer(kind, from string, name text) {
	d.refs = append(d.refs, reference{kind: kind, from: from, name: name})
}

// file decodes the whole file and checks it as a whole.
func (d *decoder) file(body *hclsyntax.Body) {
	root := block{d: d, path: top, body: body, header: d.start()}
	root.checkWords()
	for _, hb := range body.Blocks {
		if !slices.Contains(d.shapes[top].blocks, hb.Type) {
			continue // reported already
		}
		b, ok := d.open(top, hb)
		if !ok {
			// Nothing in it is read, but it counts as being there.
			d.declared[hb.Type] = append(d.declared[hb.Type], text{at: b.header})
			continue
		}
		b.decode(hb.Type)
	}
	d.checkReferences()
	d.checkSinglePhase()
	d.checkListeners()
	d.checkUpstreams()
	d.checkTimeouts()
}

func (b *block) decode(kind string) {
	if kind != "step_up" {
		b.checkWords()
	}
	switch kind {
	case "vault":
		b.vault()
	case "listener":
		b.listener()
	case "mfa_method":
		b.method()
	case "step_up":
		b.stepUp()
	case "login_mfa":
		b.loginMFA()
	case "prompt":
		b.prompt()
	case "cache":
		b.cache()
	case "relay":
		b.size("max_kept_bodies", maxKeptBodies, &b.d.cfg.Relay.MaxKeptBodies)
	case "audit":
		b.audit()
	case "telemetry":
		b.telemetry()
	case "log":
		b.log()
	}
}

// checkReferences resolves names, after every block has been read.
func (d *decoder) checkReferences() {
	for _, kind := range []string{"vault", "listener"} {
		if len(d.declared[kind]) == 0 {
			d.fail(d.start(), wordsNone(kind))
		}
	}
	for _, r := range d.refs {
		known := d.names(r.kind)
		if !slices.Contains(known, r.name.value) {
			d.fail(r.name.at, wordsUndeclared(r, known))
		}
	}
	vaults := d.declared["vault"]
	for _, l := range d.listeners {
		if l.named {
			continue
		}
		if len(vaults) > 1 {
			d.fail(l.header, wordsWhichVault(d.names("vault")))
		} else if len(vaults) == 1 {
			d.cfg.Listeners[l.index].Vault = vaults[0].value
		}
	}
}

func (b *block) method() {
	m := defaultMethod()
	m.Name = b.label.value
	b.d.declare("mfa_method", b.label)
	// Vault cuts an X-Vault-MFA line at its first colon, and trims no blanks.
	if strings.ContainsAny(m.Name, ": ") {
		b.d.fail(b.label.at, wordsMethodName())
	}
	b.need("type")
	b.word("type", []string{"totp", "duo", "okta", "pingid"}, &m.Type)
	b.flag("passcode", &m.Passcode)
	if m.Type != "totp" {
		m.Digits = 0 // Duo takes codes of several lengths
	}
	if m.Type != "duo" && b.has("passcode") && m.Type != "" {
		b.d.fail(b.body.Attributes["passcode"].NameRange, wordsOnlyDuo(m.Type))
	}
	b.count("digits", minDigits, maxDigits, &m.Digits)
	b.command("passcode_command", &m.PasscodeCommand)
	b.word("passcode_source", []string{StoreKeyring}, &m.PasscodeSource)
	if m.Passcode && b.has("passcode_source") {
		b.d.fail(b.body.Attributes["passcode_source"].NameRange, wordsBoth("passcode", "passcode_source"))
	}
	if b.has("passcode_command") && b.has("passcode_source") {
		b.d.fail(b.body.Attributes["passcode_source"].NameRange, wordsBoth("passcode_command", "passcode_source"))
	}
	b.d.cfg.Methods = append(b.d.cfg.Methods, m)
}

func (b *block) loginMFA() {
	c := &b.d.cfg.LoginMFA
	b.flag("enabled", &c.Enabled)
	// Not checked against mfa_method blocks: a login needs none.
	if list, ok := b.texts("prefer"); ok {
		c.Prefer = values(list)
	}
	seen := make(map[string]mountPlace)
	b.mounts("legacy_mounts", &c.LegacyMounts, seen)
	b.mounts("okta_mounts", &c.OktaMounts, seen)
	b.singlePhase(c, seen)
}

// A mountPlace is where a mount is named.
type mountPlace struct {
	argument string
	at       text
}

// mounts reads paths of auth methods, and gives them without slashes at the ends.
// seen has those of every list: a login can carry the factor of one kind only.
func (b *block) mounts(name string, target *[]string, seen map[string]mountPlace) {
	list, _ := b.texts(name)
	for _, t := range list {
		mount := strings.TrimSuffix(t.value, "/")
		if first, again := seen[mount]; again {
			b.d.fail(t.at, wordsMountTwice(t, first))
			continue
		}
		if !isMount(mount) {
			b.d.fail(t.at, wordsMount(t))
			continue
		}
		seen[mount] = mountPlace{name, t}
		*target = append(*target, mount)
	}
}

// isMount reports whether a path is one of an auth method, not of a login there.
func isMount(mount string) bool {
	rest, found := strings.CutPrefix(mount, "auth/")
	return found && rest != "" && "/"+mount == path.Clean("/"+mount) &&
		!strings.ContainsAny(rest, "*+") && !slices.Contains(strings.Split(rest, "/"), "login")
}

func (b *block) prompt() {
	c := &b.d.cfg.Prompt
	b.words("use", []string{UseAttached, UseDesktop, UseTerminal, UseCommand}, &c.Use)
	if len(c.Use) == 0 {
		b.d.fail(b.body.Attributes["use"].Expr.Range(), wordsEmptyList("use"))
	}
	b.command("command", &c.Command)
	b.duration("timeout", maxPrompt, &c.Timeout)
	b.count("attempts", 1, maxAttempts, &c.Attempts)
	b.duration("cooldown", maxCooldown, &c.Cooldown)
	b.flag("confirm_push", &c.ConfirmPush)
	b.count("max_pending", 1, maxMaxPending, &c.MaxPending)
	b.word("detached", []string{Ask, Never}, &c.Detached)
	if list, ok := b.someTexts("never"); ok {
		c.Never = values(list)
	}
	switch uses := slices.Contains(c.Use, UseCommand); {
	case uses && !b.has("command"):
		b.d.fail(b.body.Attributes["use"].SrcRange, wordsNoCommand())
	case !uses && b.has("command"):
		b.d.warn(b.body.Attributes["command"].SrcRange, wordsUnusedCommand())
	}
}

func (b *block) cache() {
	c := &b.d.cfg.Cache
	b.word("store", []string{StoreKeyring, StoreMemory}, &c.Store)
	b.duration("max_ttl", maxTokenTTL, &c.MaxTTL)
	b.words("lock_on", []string{LockSleep, LockScreenLock}, &c.LockOn)
}

func (b *block) audit() {
	b.need("file")
	if t, ok := b.absolute("file"); ok {
		b.d.notFolder("file", t)
		b.d.safe("file", t, ownership.CheckWay)
		b.d.cfg.Audit.File = t.value
	}
}

func (b *block) telemetry() {
	b.need("address")
	b.flag("other_users", &b.d.cfg.Telemetry.OtherUsers)
	t, ok := b.text("address")
	if !ok {
		return
	}
	addr, ok := b.d.loopback("telemetry", t)
	if !ok {
		return
	}
	b.d.cfg.Telemetry.Address = addr.String()
	b.d.telemetry = &listening{what: "telemetry", header: b.header, key: addr.String(), addr: addr, at: t}
}

func (b *block) log() {
	var level string
	b.word("level", []string{"debug", "info", "warn", "error"}, &level)
	switch level {
	case "debug":
		b.d.cfg.Log.Level = slog.LevelDebug
	case "warn":
		b.d.cfg.Log.Level = slog.LevelWarn
	case "error":
		b.d.cfg.Log.Level = slog.LevelError
	}
	b.word("format", []string{FormatText, FormatJSON}, &b.d.cfg.Log.Format)
}

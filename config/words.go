package config

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Everything that people read about a configuration is worded in this file.
// Lower case, no full stop. The summary says what is wrong, the detail why it
// matters, the hint what to do. A value is repeated only as it stands in the
// file, never what a variable made of it, and never a password.

// A message is what a diagnostic says. Detail and hint may be "".
type message struct{ summary, detail, hint string }

func say(summary, hint string) message { return message{summary: summary, hint: hint} }

func unknown(kind, name, block string) string {
	if block == "" {
		return fmt.Sprintf("unknown %s %q", kind, name)
	}
	return fmt.Sprintf("unknown %s %q in %s", kind, name, block)
}

func wordsUnknownArgument(block, name string, s shape) message {
	summary := unknown("argument", name, block)
	switch {
	case slices.Contains(s.blocks, name):
		return say(summary, name+" is a block: write it without the equals sign")
	case len(s.args) == 0 && len(s.blocks) == 0:
		return say(summary, "leave the block empty: it takes no arguments")
	case len(s.args) == 0:
		return say(summary, meant(name, s.blocks, "there are only blocks here: "))
	}
	return say(summary, meant(name, s.args, "it has: "))
}

func wordsUnknownBlock(block, name string, s shape) message {
	summary := unknown("block", name, block)
	switch {
	case slices.Contains(s.args, name):
		return say(summary, fmt.Sprintf("%s is an argument: write %s = …", name, name))
	case len(s.blocks) == 0:
		return say(summary, meant(name, s.args, "it has only arguments: "))
	}
	return say(summary, meant(name, s.blocks, "it has: "))
}

func wordsLabels(kind, label string, have int) message {
	switch {
	case label == "":
		return say(kind+" takes no name", "write "+kind+" { … }")
	case have == 0:
		return say(kind+" needs "+label, fmt.Sprintf("write %s \"…\" { … }", kind))
	}
	return say(kind+" has more than one name", "it takes "+label)
}

// badLabel finds what a name may not be: names are shown on terminals, and are
// parts of metrics and of keys in the keyring.
func badLabel(name string) (message, bool) {
	switch {
	case strings.TrimSpace(name) == "":
		return say("the name is empty", "give it a name"), true
	case len(name) > 128:
		return say("the name is too long", "use at most 128 bytes"), true
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return say("the name has a character that cannot be printed", ""), true
	}
	return message{}, false
}

func wordsTwice(kind string, line int) message {
	return say(fmt.Sprintf("there are two %s blocks", kind), fmt.Sprintf("join it with the one on line %d", line))
}

func wordsDuplicate(kind string, label text, line int) message {
	return say(fmt.Sprintf("there are two %s blocks %s", kind, label.shown), fmt.Sprintf("the first is on line %d: give one of them another name", line))
}

func wordsMissing(block, name string) message {
	return say(fmt.Sprintf("%s lacks %s", block, name), fmt.Sprintf("add %s = …", name))
}

func wordsNone(kind string) message {
	if kind == "vault" {
		return message{
			summary: "there is no vault block", detail: "stepup has to know the Vault server that it stands in front of",
			hint: `add vault "NAME" { address = "https://…" }`,
		}
	}
	return message{
		summary: "there is no listener block", detail: "without a listener no app can reach the agent",
		hint: `add listener "tcp" { address = "127.0.0.1:8100" }`,
	}
}

func wordsUndeclared(r reference, known []string) message {
	m := message{summary: fmt.Sprintf("%s names %s %s, which is not declared", r.from, r.kind, r.name.shown)}
	if m.hint = meant(r.name.value, known, "declared are: "); m.hint == "" {
		m.hint = fmt.Sprintf("add %s %s { … }", r.kind, r.name.shown)
	}
	return m
}

func wordsWhichVault(known []string) message {
	return message{
		summary: "the listener does not say which vault it stands for", detail: "there are several vault blocks",
		hint: `add vault = "NAME"; declared are: ` + strings.Join(known, ", "),
	}
}

func wordsType(want, have string) message {
	return say(fmt.Sprintf("wrong type: this must be %s, not %s", want, have), "")
}

func wordsExpression() message {
	return message{
		summary: "this expression is not possible here",
		detail:  "a configuration has text, numbers, true and false, and lists; no functions, operators or conditions",
		hint:    "inside text, ${env.NAME}, ${home}, ${runtime_dir} and ${state_dir} may be used",
	}
}

func wordsVariable(name string) message {
	if n := nearest(name, []string{"env", "home", "runtime_dir", "state_dir"}); n != "" {
		return say(fmt.Sprintf("there is no variable %q", name), fmt.Sprintf("did you mean %q?", n))
	}
	return say(fmt.Sprintf("there is no variable %q", name), fmt.Sprintf("put text in quotes: %q", name))
}

func wordsEnvForm() message {
	return say("env needs the name of one environment variable", "write ${env.NAME}")
}

func wordsEnvUnset(name string) message {
	return say(fmt.Sprintf("environment variable %s is not set", name),
		"set it for the agent, which does not see what a shell sets later, or write the value here")
}

func wordsNoFolder(name string) message {
	return say(fmt.Sprintf("%s is not known on this machine", name), "set HOME, or write the whole path")
}

func wordsControl(r rune) message {
	m := say(fmt.Sprintf("the text has a control character (%U)", r), "")
	if r == '\n' {
		m.hint = "text is one line: a heredoc has a line break at its end"
	}
	return m
}

func wordsEmpty(name string) message { return say(name+" is empty", "") }

func wordsEmptyElement(name string) message {
	return say("an element of "+name+" is empty", "take it out of the list")
}

func wordsEmptyList(name string) message { return say(name+" is an empty list", "name at least one") }

func wordsRepeated(name string, t text) message {
	return say(fmt.Sprintf("%s names %s twice", name, t.shown), "")
}

func wordsUnknownWord(name string, t text, words []string) message {
	m := say(fmt.Sprintf("%s cannot be %s", name, t.shown), meant(t.value, words, "use one of: "))
	switch {
	case name == "capabilities" && (t.value == "sudo" || t.value == "deny"):
		m.detail = "a rule names operations; Vault asks for sudo besides one of them, and deny always wins"
	case name == "capabilities" && t.value == "write":
		m.hint = `a write is "create" or "update"`
	}
	return m
}

func wordsRange(name string, lo, hi int) message {
	return say(fmt.Sprintf("%s must be a whole number from %d to %d", name, lo, hi), "")
}

func wordsDuration(name string, t text) message {
	return say(fmt.Sprintf("%s cannot be read as a duration: %s", name, t.shown), `write a number with a unit, such as "55s", "5m" or "1h30m"`)
}

func wordsDurationRange(name string, t text, limit time.Duration) message {
	text := limit.String()
	for _, zero := range []string{"0s", "0m"} {
		if short, ok := strings.CutSuffix(text, zero); ok && strings.ContainsAny(short[len(short)-1:], "hm") {
			text = short
		}
	}
	return say(fmt.Sprintf("%s is out of range: %s", name, t.shown), fmt.Sprintf("it must be more than 0 and at most %s", text))
}

func wordsSizeRange(name string, limit int64) message {
	return say(name+" is out of range", "it must be at least 0 and at most "+shownSize(limit))
}

func wordsRelative(name string, t text) message {
	m := message{
		summary: fmt.Sprintf("%s is not an absolute path: %s", name, t.shown),
		detail:  "a relative path would depend on the folder that the agent is started from",
		hint:    "begin with /, ${home}, ${runtime_dir} or ${state_dir}",
	}
	if rest, ok := strings.CutPrefix(t.shown, `"~/`); ok {
		m.detail, m.hint = "", `write "${home}/`+rest
	}
	return m
}

func wordsUnreadable(name string, t text, err error) message {
	return say(fmt.Sprintf("%s cannot be read: %s: %s", name, t.shown, cause(err)), "")
}

func wordsFolder(name string, t text) message {
	return say(fmt.Sprintf("%s is a folder: %s", name, t.shown), "name a file in it")
}

// cause is the part of a file error that does not repeat the path.
func cause(err error) string {
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return err.Error()
}

func wordsFile(path string, err error) message {
	if errors.Is(err, fs.ErrNotExist) {
		return say("there is no configuration at "+path, "stepup config init --address https://… writes one")
	}
	return say("cannot read the configuration "+path+": "+cause(err), "")
}

func wordsTooLarge(limit int) message {
	return say(fmt.Sprintf("the configuration is larger than %d KiB", limit>>10), "is this the right file?")
}

func wordsTooDeep() message { return say("the configuration is nested too deeply", "") }

func wordsNotYet(what string) message { return say(what+" is not supported yet", "") }

func wordsBoth(one, other string) message {
	return say(fmt.Sprintf("%s and %s exclude each other", one, other), "keep one of them")
}

func wordsNamespace(t text) message {
	return say(fmt.Sprintf("%s cannot be a namespace", t.shown), `write it as in X-Vault-Namespace: "team" or "team/sub", or "root" for the one without a name`)
}

func wordsMount(t text) message {
	return say(fmt.Sprintf("%s is not an auth mount", t.shown), `write the whole path as in vault auth list, with auth/ in front and no * or +: "auth/ldap"`)
}

func wordsMountTwice(t text, first mountPlace) message {
	return say(fmt.Sprintf("%s is named twice", t.shown), fmt.Sprintf("it is in %s on line %d already", first.argument, first.at.at.Start.Line))
}

func wordsNoSinglePhase(name string) message {
	return say(name+" does nothing without single_phase = true", "add single_phase = true, or take it out")
}

// wordsWhichMethod is about single_phase, which has to know what Vault will want.
func wordsWhichMethod(declared []string) message {
	hint := `declare the method in an mfa_method block and add single_phase_methods = ["its name"]`
	if len(declared) > 0 {
		hint = "add single_phase_methods = […] with some of: " + strings.Join(declared, ", ")
	}
	return say("single_phase does not say which methods go with a login", hint)
}

func wordsNoCommand() message {
	return say(`use has "command", but there is no command`, `add command = ["/path/of/program"]`)
}

func wordsUnusedCommand() message {
	return say(`command has no effect, because use does not name "command"`, `add "command" to use`)
}

func wordsHostPort(t text) message {
	return say(fmt.Sprintf("%s is not an address with a port", t.shown), `write "127.0.0.1:8100" or "[::1]:8100"`)
}

func wordsPort(t text) message {
	return say(fmt.Sprintf("%s has no usable port", t.shown), "a port is a number up to 65535")
}

func wordsNotLoopback(what string, t text) message {
	m := message{
		summary: fmt.Sprintf("%s is not on a loopback address: %s", what, t.shown),
		detail:  "anybody on the network could use your token and ask you for codes",
		hint:    "listen on 127.0.0.1, on [::1] or on a unix socket",
	}
	if what == "telemetry" {
		m.detail, m.hint = "anybody on the network could read which secrets you use and when", "listen on 127.0.0.1 or [::1]"
	}
	return m
}

func wordsLongSocket(n int) message {
	return say(fmt.Sprintf("the path of the unix socket has %d bytes; systems allow at most %d", n, maxUnixPath), "use a shorter folder, such as ${runtime_dir}")
}

func wordsAddressTaken(t text, first listening) message {
	if first.at.at.Start.Line == 0 {
		return say(fmt.Sprintf("%s is the address of %s", t.shown, first.what), "use another name in that folder")
	}
	return say(fmt.Sprintf("two listeners use the address %s", t.shown), fmt.Sprintf("the first is %s on line %d", first.what, first.at.at.Start.Line))
}

func wordsOwnListener(up upstream, l listening) message {
	return message{
		summary: fmt.Sprintf("%s points at stepup's own %s on line %d", up.title, l.what, l.header.Start.Line),
		detail:  "every request would come back to the agent for ever",
		hint:    "address is the Vault server itself; only apps have the agent in VAULT_ADDR",
	}
}

func wordsURL(t text) message {
	return say(fmt.Sprintf("%s is not a URL", t.shown), `write "https://vault.example.com:8200"`)
}

func wordsScheme(t text) message {
	return say(fmt.Sprintf("%s does not begin with https://, http:// or unix://", t.shown), `write "https://vault.example.com:8200"`)
}

func wordsUserInfo() message {
	return message{
		summary: "the address has a user or password in it", detail: "Vault has no use for one, and addresses get into logs",
		hint: "write only scheme, host and port",
	}
}

func wordsQuery(t text) message {
	return say(fmt.Sprintf("%s has a query or fragment", t.shown), "write only scheme, host and port")
}

func wordsUnixURL(t text) message {
	return say(fmt.Sprintf("%s does not name a socket", t.shown), `write three slashes and the whole path: "unix:///run/vault.sock"`)
}

func wordsNoHost(t text) message { return say(fmt.Sprintf("%s has no host", t.shown), "") }

func wordsURLPath(t text) message {
	return say(fmt.Sprintf("%s has a path", t.shown), "write only scheme, host and port: /v1/… comes from the app")
}

func wordsNoCertificate(t text) message {
	return say(fmt.Sprintf("there is no PEM certificate in %s", t.shown), "")
}

func wordsAlone(have, lacks string) message {
	return say(fmt.Sprintf("%s needs %s", have, lacks), fmt.Sprintf("add %s = …", lacks))
}

func wordsKeyPair(err error) message {
	return message{summary: "client_cert and client_key do not work together", detail: strings.TrimPrefix(err.Error(), "tls: ")}
}

func wordsNoTLS(name, scheme string) message {
	return say(fmt.Sprintf("%s has no effect with %s://", name, scheme), "")
}

// What a reload changed.
const (
	wordsUnchanged   = "nothing changed"
	wordsMoreChanges = "and %d more"
	wordsAdded       = "added"
	wordsChanged     = "changed"
	wordsRemoved     = "removed"
	wordsReordered   = "rules in another order"
	wordsOpened      = "opened"
	wordsClosed      = "closed"
	wordsNothing     = "none"
)

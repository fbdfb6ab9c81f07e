package stepup_test

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers is the import table of ARCHITECTURE.md: which packages of ours a
// package may import. A trailing /* is everything below, * is everything.
func layers() map[string][]string {
	return map[string][]string{
		".":          {},
		"cmd/stepup": {"cache/keyring", "cmd/stepup/internal/*"},

		// Commands import what they share, and never each other.
		"cmd/stepup/internal/answering":  {"agent/control", "cmd/stepup/internal/cli", "prompt"},
		"cmd/stepup/internal/attach":     {"agent/control", "cmd/stepup/internal/answering", "cmd/stepup/internal/cli", "prompt", "prompt/terminal"},
		"cmd/stepup/internal/cli":        {"agent", "agent/control", "agent/listener", "agent/pathwatch", "cache/keyring", "config", "config/paths", "ownership", "prompt", "prompt/terminal"},
		"cmd/stepup/internal/configtest": {"agent", "agent/rule", "cmd/stepup/internal/cli", "cmd/stepup/internal/setup", "config/layers", "config/requests", "prompt"},
		"cmd/stepup/internal/daemon":     {"agent", "agent/control", "agent/pathwatch", "agent/vault", "cache/keyring", "cmd/stepup/internal/cli", "cmd/stepup/internal/setup", "cmd/stepup/internal/vaultcli", "config", "prompt/terminal"},
		"cmd/stepup/internal/demo":       {"agent", "agent/devvault", "agent/mfa", "cmd/stepup/internal/cli", "cmd/stepup/internal/setup", "config", "prompt", "prompt/terminal"},
		"cmd/stepup/internal/doctor":     {"agent", "agent/control", "agent/listener", "agent/peer", "agent/rule", "agent/vault", "cache/keyring", "cache/secret", "cmd/stepup/internal/cli", "cmd/stepup/internal/setup", "cmd/stepup/internal/supervisor", "cmd/stepup/internal/vaultcli", "config", "ownership", "prompt"},
		"cmd/stepup/internal/exec":       {"agent", "agent/control", "agent/listener", "agent/peer", "cache/secret", "cmd/stepup/internal/answering", "cmd/stepup/internal/cli", "cmd/stepup/internal/setup", "cmd/stepup/internal/vaultcli", "prompt", "prompt/terminal"},
		"cmd/stepup/internal/history":    {"agent/audit", "agent/peer", "cmd/stepup/internal/cli"},
		"cmd/stepup/internal/policies":   {"agent", "agent/rule", "agent/vault", "cache/secret", "cmd/stepup/internal/cli", "cmd/stepup/internal/vaultcli"},
		"cmd/stepup/internal/secrets":    {"agent/rule", "cache/keyring", "cache/secret", "cmd/stepup/internal/cli", "cmd/stepup/internal/vaultcli", "config/paths", "prompt/terminal"},
		"cmd/stepup/internal/service":    {"agent", "agent/control", "cmd/stepup/internal/cli", "cmd/stepup/internal/supervisor", "config/paths", "packaging"},
		"cmd/stepup/internal/setup":      {"agent", "agent/peer", "cmd/stepup/internal/cli", "ownership", "prompt", "prompt/command", "prompt/dialog", "prompt/notification", "prompt/session", "prompt/terminal"},
		"cmd/stepup/internal/supervisor": {"agent", "cmd/stepup/internal/cli", "config/paths", "packaging"},
		"cmd/stepup/internal/vaultcli":   {"agent", "agent/control", "cache/secret", "cmd/stepup/internal/cli"},

		"agent":                 {"agent/*", "cache", "cache/keyring", "cache/secret", "prompt"},
		"agent/autolock":        {"messagebus"},
		"agent/express":         {"agent/mfa"},
		"agent/listener":        {"agent/express", "agent/peer", "agent/pipe", "ownership"},
		"agent/peer":            {"ownership"},
		"agent/notice":          {"agent/peer", "agent/stepup/factor", "agent/stepup/state", "cache", "prompt"},
		"agent/mfa":             {},
		"agent/pathwatch":       {},
		"agent/pipe":            {},
		"agent/rule":            {},
		"agent/relay":           {"agent/express", "agent/mfa", "agent/rule", "agent/stepup", "cache", "cache/secret"},
		"agent/stepup":          {"agent/audit", "agent/mfa", "agent/rule", "agent/stepup/approval", "agent/stepup/factor", "agent/stepup/state", "agent/vault", "cache", "cache/secret", "prompt"},
		"agent/stepup/approval": {"agent/audit", "agent/mfa", "agent/rule", "agent/stepup/factor", "agent/stepup/state", "agent/vault", "cache/secret", "prompt"},
		"agent/stepup/factor":   {"agent/audit", "agent/mfa", "agent/peer", "agent/rule", "agent/stepup/state", "agent/vault", "cache", "cache/secret", "prompt"},
		"agent/stepup/state":    {"agent/mfa", "agent/peer", "agent/rule", "agent/vault", "cache", "cache/secret", "prompt"},
		"agent/suggest":         {"agent/control", "agent/mfa", "agent/rule", "cache/secret"},
		"agent/vault":           {"agent/mfa", "cache/secret"},
		"agent/control":         {"agent/peer", "agent/pipe", "cache/secret", "ownership", "prompt"},
		"agent/devvault":        {},
		"agent/audit":           {"agent/peer", "ownership"},
		"agent/metrics":         {},
		"cache":                 {"cache/keyring", "cache/secret"},
		"cache/keyring":         {"cache/secret", "messagebus"},
		"cache/secret":          {},
		"cache/cachetest":       {"cache", "cache/keyring", "cache/secret"},
		"prompt":                {"cache/secret"},
		"prompt/qrcode":         {"cache/secret"},
		"prompt/prompttest":     {"prompt"},
		"config":                {"agent", "agent/notice", "agent/rule", "config/excerpt", "config/layers", "config/paths", "ownership"},
		"config/excerpt":        {},
		"config/layers":         {"config/excerpt", "ownership"},
		"config/paths":          {"ownership"},
		"config/requests":       {"config/excerpt", "config/layers"},
		"messagebus":            {},
		"ownership":             {},
		"packaging":             {},
		"examples":              {},

		// A way to ask knows the question, and no other way.
		"prompt/terminal":     {"prompt", "prompt/qrcode"},
		"prompt/dialog":       {"prompt", "prompt/qrcode", "prompt/x11"},
		"prompt/x11":          {},
		"prompt/notification": {"messagebus", "prompt"},
		"prompt/command":      {"prompt"},
		"prompt/session":      {"messagebus", "ownership", "prompt"},

		"messagebus/messagebustest": {},
	}
}

// A confinement keeps an import, and everything below it, to a few packages, which are
// named as in the import table.
type confinement struct {
	path string
	to   []string
	why  string
}

func confinements() []confinement {
	return []confinement{
		{module + "/config", []string{"config", "config/layers", "config/requests", "cmd/stepup/internal/configtest", "cmd/stepup/internal/cli", "cmd/stepup/internal/supervisor", "cmd/stepup/internal/service", "cmd/stepup/internal/secrets", "cmd/stepup/internal/doctor", "cmd/stepup/internal/demo", "cmd/stepup/internal/daemon"}, "only cmd knows files; everything else gets plain values"},
		{module + "/agent/devvault", []string{"cmd/stepup/internal/demo"}, "the development Vault belongs to the demo, never to the daemon"},
		{"github.com/hashicorp/vault/api", []string{"agent/vault"}, "it reads VAULT_* of the environment; one package knows how to stop that"},
		{"github.com/zalando/go-keyring", []string{"cache/keyring"}, "its calls may hang for ever; cache/keyring makes them bounded and killable"},
		{"golang.org/x/term", []string{"prompt/terminal"}, "only prompt/terminal knows terminals"},
		{"github.com/gen2brain/beeep", []string{"prompt/notification"}, "only prompt/notification shows notifications, and sanitises them"},
		{"github.com/godbus/dbus/v5", []string{"messagebus", "messagebus/messagebustest"}, "its reader panics on what a bus should not say, and its shared connections belong to go-keyring; messagebus guards against both"},
		{"github.com/vishvananda/netlink", []string{"agent/peer"}, "only peer asks the kernel who is at the other end"},
		{"github.com/hashicorp/hcl/v2", []string{"config", "config/excerpt", "config/layers", "config/requests"}, "only config knows the file format"},
		{"github.com/hashicorp/hcl/hcl", []string{"cmd/stepup/internal/policies"}, "only policies are in the grammar of old"},
		{"github.com/zclconf/go-cty", []string{"config", "config/layers"}, "only config knows the file format"},
		{"github.com/prometheus", []string{"agent/metrics"}, "only metrics knows how they are counted and served; the others tell it what happened"},
		{"github.com/spf13/cobra", []string{"cmd/*"}, "only cmd knows command lines"},
		{"testing", []string{"cache/cachetest", "messagebus/messagebustest", "prompt/prompttest"}, "test code and its flags do not belong in the program"},
		{"net/http/httptest", []string{"cache/cachetest", "messagebus/messagebustest", "prompt/prompttest"}, "test code and its flags do not belong in the program"},
	}
}

// pure are the packages without I/O: what they decide depends on their
// arguments alone, which is what makes them worth fuzzing.
func pure() []string { return []string{"agent/mfa", "agent/rule"} }

// outside is what a pure package may not import.
func outside() []string {
	return []string{"os", "net", "net/http", "syscall", "log", "log/slog", "database/sql", "golang.org/x/sys", "plugin"}
}

func checkImports(f *sourceFile) []string {
	allowed, known := layers()[f.dir]
	if !known {
		return []string{fmt.Sprintf("%s: package %s has no row in the import table (architecture_test.go, ARCHITECTURE.md)", f.name, f.dir)}
	}
	var bad []string
	for _, spec := range f.ast.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			bad = append(bad, fmt.Sprintf("%s: %v", f.at(spec.Pos()), err))
			continue
		}
		if ours, ok := strings.CutPrefix(imported, module+"/"); ok && !slices.ContainsFunc(allowed, func(p string) bool { return covers(p, ours) }) {
			bad = append(bad, fmt.Sprintf("%s: %s may not import %s: the import table allows %q", f.at(spec.Pos()), f.dir, ours, allowed))
		}
		for _, c := range confinements() {
			if within(imported, c.path) && !slices.ContainsFunc(c.to, func(p string) bool { return covers(p, f.dir) }) {
				bad = append(bad, fmt.Sprintf("%s: %s may not import %s: %s", f.at(spec.Pos()), f.dir, imported, c.why))
			}
		}
		if slices.Contains(pure(), f.dir) && slices.ContainsFunc(outside(), func(p string) bool { return imported == p || strings.HasPrefix(imported, p+"/") && p != "net" }) {
			bad = append(bad, fmt.Sprintf("%s: %s does no I/O and may not import %s", f.at(spec.Pos()), f.dir, imported))
		}
	}
	return bad
}

// covers reports whether an entry of the import table allows a package.
func covers(entry, pkg string) bool {
	if entry == "*" {
		return true
	}
	if below, ok := strings.CutSuffix(entry, "*"); ok {
		return strings.HasPrefix(pkg, below)
	}
	return entry == pkg
}

// within reports whether an import is path or below it.
func within(imported, path string) bool {
	return imported == path || strings.HasPrefix(imported, path+"/")
}

func TestImports(t *testing.T) {
	enforce(t, checkImports, []sample{
		{"upwards", "cache/x.go", `package cache; import _ "` + module + `/agent"`, "cache may not import agent"},
		{"sideways", "agent/mfa/x.go", `package mfa; import _ "` + module + `/agent/rule"`, "agent/mfa may not import agent/rule"},
		{"config outside cmd", "agent/x.go", `package agent; import _ "` + module + `/config"`, "only cmd knows files"},
		{"devvault in the daemon", "agent/x.go", `package agent; import _ "` + module + `/agent/devvault"`, "never to the daemon"},
		{"vault client", "agent/relay/x.go", `package relay; import _ "github.com/hashicorp/vault/api"`, "one package knows"},
		{"below a confined path", "agent/relay/x.go", `package relay; import _ "github.com/hashicorp/vault/api/auth/userpass"`, "one package knows"},
		{"keyring", "agent/x.go", `package agent; import _ "github.com/zalando/go-keyring"`, "bounded and killable"},
		{"terminal", "cmd/stepup/x.go", `package main; import _ "golang.org/x/term"`, "only prompt/terminal knows terminals"},
		{"a question into the agent", "prompt/x.go", `package prompt; import _ "` + module + `/agent/peer"`, "prompt may not import agent/peer"},
		{"one way to ask into another", "prompt/dialog/x.go", `package dialog; import _ "` + module + `/prompt/session"`, "prompt/dialog may not import prompt/session"},
		{"a bus of one's own", "agent/x.go", `package agent; import _ "github.com/godbus/dbus/v5"`, "messagebus guards"},
		{"I/O in a pure package", "agent/rule/x.go", `package rule; import _ "os/exec"`, "does no I/O"},
		{"unknown package", "agent/extra/x.go", `package extra`, "no row in the import table"},
		{"allowed", "agent/rule/x.go", `package rule; import _ "net/url"`, ""},
		{"one command into another", "cmd/stepup/internal/exec/x.go", `package exec; import _ "` + module + `/cmd/stepup/internal/attach"`, "cmd/stepup/internal/exec may not import cmd/stepup/internal/attach"},
		{"cmd wires all", "cmd/stepup/x.go", `package main; import _ "` + module + `/cmd/stepup/internal/exec"`, ""},
	})
}

// drawers are names that say nothing of what is inside, so that everything ends there.
func drawers() []string {
	return []string{"util", "utils", "common", "types", "pkg", "helper", "helpers", "misc", "shared"}
}

func checkName(f *sourceFile) []string {
	for part := range strings.SplitSeq(f.dir, "/") {
		if slices.Contains(drawers(), part) {
			return []string{fmt.Sprintf("%s: %s is no noun that can be defined in one sentence", f.name, part)}
		}
	}
	return nil
}

func TestPackageNames(t *testing.T) {
	enforce(t, checkName, []sample{
		{"drawer", "agent/util/x.go", "package util", "util is no noun"},
		{"noun", "agent/mfa/x.go", "package mfa", ""},
	})
}

// checkPackageComment holds each comment to Go's form; how many there are is
// for [TestPackageComments] to count.
func checkPackageComment(f *sourceFile) []string {
	if f.ast.Doc == nil {
		return nil
	}
	forms := []string{"Package " + f.ast.Name.Name + " "}
	if f.isMain() {
		program := path.Base(f.dir)
		forms = []string{"Command " + program + " ", strings.ToUpper(program[:1]) + program[1:] + " "}
	}
	text := f.ast.Doc.Text()
	if slices.ContainsFunc(forms, func(form string) bool { return strings.HasPrefix(text, form) }) {
		return nil
	}
	return []string{fmt.Sprintf("%s: a package comment begins with %q", f.at(f.ast.Package), forms)}
}

// Two comments are two truths, and go doc glues them together in file order.
func TestPackageComments(t *testing.T) {
	enforce(t, checkPackageComment, []sample{
		{"a licence", "cache/x.go", "// All rights reserved.\npackage cache", "begins with"},
		{"good", "cache/x.go", "// Package cache keeps.\npackage cache", ""},
		{"good main", "cmd/stepup/x.go", "// Stepup relays.\npackage main", ""},
	})
	commented := map[string][]string{}
	for _, f := range sources(t) {
		if commented[f.dir] == nil {
			commented[f.dir] = []string{}
		}
		if f.ast.Doc != nil {
			commented[f.dir] = append(commented[f.dir], f.name)
		}
	}
	for dir, files := range commented {
		if len(files) != 1 {
			t.Errorf("%s: one file must have a package comment, not %d %v", dir, len(files), files)
		}
	}
}

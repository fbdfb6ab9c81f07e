package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/ownership"
)

func (d *doctor) checkConfig(context.Context) []finding {
	const what = "config"
	if d.noConfig != nil {
		return []finding{fail(what, "%v", d.noConfig).with(cli.HintConfigFlag)}
	}
	var all []finding
	if err := d.diagnostics.Err(); err != nil {
		hint := hintConfig
		if _, gone := os.Stat(d.file); errors.Is(gone, fs.ErrNotExist) {
			hint = "`stepup config init --address https://vault.example.com:8200` writes one"
		}
		all = append(all, fail(what, "%v", err).with("%s", hint))
	} else {
		all = append(all, pass(what, "%s: %s, %s, %s", d.file, cli.Counted(len(d.config.Vaults), "vault"),
			cli.Counted(len(d.config.Listeners), "listener"), cli.Counted(len(d.config.Rules), "rule")))
	}
	for _, line := range d.diagnostics.Warnings() {
		all = append(all, warn(what, "%s", line).with(hintConfig))
	}
	if d.config == nil {
		all = append(all, warn("vaults", "not looked at, as the configuration cannot be used"))
	}
	return all
}

// checkFiles looks for what other users could change or read.
func (d *doctor) checkFiles(context.Context) []finding {
	const what = "files"
	if !ownership.Told {
		return []finding{pass(what, "not looked at: on this system access lists say who may do what")}
	}
	var all []finding
	if d.noConfig == nil {
		all = append(all, changeable(ownership.Check(d.file)))
	}
	if d.config != nil {
		for _, v := range d.config.Vaults {
			all = append(all, readable(v.ClientKey))
		}
		all = append(all, readable(d.config.Audit.File), d.appendable(d.config.Audit.File))
	}
	all = append(all, runtimeFolder(d.RuntimeDir()))
	bad := all[:0]
	for _, f := range all {
		if f.Finding != "" {
			bad = append(bad, f)
		}
	}
	if len(bad) == 0 {
		return []finding{pass(what, "only you can change them")}
	}
	return bad
}

// changeable tells of a file that another user could change. A configuration names the
// Vault that gets the tokens, and programs to start.
func changeable(err error) finding {
	var unsafe *ownership.Unsafe
	if !errors.As(err, &unsafe) {
		return finding{} // that it cannot be read has been said
	}
	return fail("files", textChangeable, unsafe).with("%s", unsafe.Fix())
}

// appendable finds an audit log that an agent could not write. One that runs knows
// better.
func (d *doctor) appendable(path string) finding {
	if path == "" || d.running() {
		return finding{}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		err = f.Close()
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return finding{} // the agent makes it
	}
	return fail("files", textAudit, err)
}

// readable finds a file that other users could read.
func readable(path string) finding {
	info, err := os.Stat(path)
	if path == "" || err != nil || info.Mode().Perm()&0o077 == 0 {
		return finding{}
	}
	return warn("files", "other users may read %s", path).with("chmod go= %s", cli.ShellQuote(path))
}

func runtimeFolder(path string) finding {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return finding{} // the agent makes it
	case !info.IsDir():
		return fail("files", "%s is not a folder", path).with(hintRuntime)
	case !ownership.Ours(info):
		return fail("files", textOwner, path, ownership.UID(info)).with(hintRuntime)
	}
	return changeable(ownership.CheckWay(path)) // the agent sets its mode
}

const hintRuntime = "set STEPUP_RUNTIME_DIR to a folder of your own"

const textOwner = "%s belongs to user %d"

const textAudit = "the audit log cannot be written: %v"

const textChangeable = "another user could change what stepup trusts: %v"

const hintConfig = "`stepup config check` shows the place"

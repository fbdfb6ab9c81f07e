package doctor

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/ownership"
)

// Texts of several checks.
const (
	hintConfig = "`stepup config check` shows the place"
	textAudit  = "the audit log cannot be written: %v"
	textOwner  = "%s belongs to user %d"
)

func checkConfig(d *doctor, f findings) {
	if d.noConfig != nil {
		f.fail("%v", d.noConfig).with(cli.HintConfigFlag)
		return
	}
	if err := d.diagnostics.Err(); err == nil {
		f.pass("%s: %s, %s, %s", strings.Join(d.config.Files, ", "), cli.Counted(len(d.config.Vaults), "vault"),
			cli.Counted(len(d.config.Listeners), "listener"), cli.Counted(len(d.config.Rules), "rule"))
	} else if _, gone := os.Stat(d.file); errors.Is(gone, fs.ErrNotExist) {
		f.fail("%v", err).with("%s", d.HintInit())
	} else {
		f.fail("%v", err).with(hintConfig)
	}
	for _, line := range d.diagnostics.Warnings() {
		f.warn("%s", line).with(hintConfig)
	}
	if d.config == nil {
		f.about("vaults").warn("not looked at, as the configuration cannot be used")
	}
}

// checkFiles looks for what other users could change or read.
func checkFiles(d *doctor, f findings) {
	if !ownership.Told {
		f.pass("not looked at: on this system access lists say who may do what")
		return
	}
	if d.noConfig == nil {
		// A configuration names the Vault that gets the tokens, and programs to start.
		f.changeable(ownership.Check(d.file))
	}
	if d.config != nil {
		for _, v := range d.config.Vaults {
			f.readable(v.ClientKey)
		}
		f.readable(d.config.Audit.File)
		if !d.running() { // one that runs knows better
			f.appendable(d.config.Audit.File)
		}
	}
	f.runtimeFolder(d.RuntimeDir())
	if len(*f.all) == 0 {
		f.pass("only you can change them")
	}
}

// changeable finds a file that another user could change, by the error of its check. It
// reports whether there was one.
func (f findings) changeable(err error) bool {
	var unsafe *ownership.Unsafe
	if !errors.As(err, &unsafe) {
		return false // that it cannot be read has been said
	}
	f.fail("another user could change what stepup trusts: %v", unsafe).with("%s", unsafe.Fix())
	return true
}

// appendable finds an audit log that an agent could not write.
func (f findings) appendable(path string) {
	if path == "" {
		return
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		err = file.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // else the agent makes it
		f.fail(textAudit, err)
	}
}

// readable finds a file that other users could read.
func (f findings) readable(path string) {
	info, err := os.Stat(path)
	if path != "" && err == nil && info.Mode().Perm()&0o077 != 0 {
		f.warn("other users may read %s", path).with("chmod go= %s", cli.ShellQuote(path))
	}
}

func (f findings) runtimeFolder(path string) {
	const hint = "set STEPUP_RUNTIME_DIR to a folder of your own"
	info, err := os.Lstat(path)
	switch {
	case err != nil: // the agent makes it
	case !info.IsDir():
		f.fail("%s is not a folder", path).with(hint)
	case !ownership.Ours(info):
		f.fail(textOwner, path, ownership.UID(info)).with(hint)
	default:
		f.changeable(ownership.CheckPlace(path)) // the agent sets its mode
	}
}

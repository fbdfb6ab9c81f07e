package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

func (d *doctor) examineConfig(context.Context) []finding {
	const what = "config"
	if d.noConfig != nil {
		return []finding{fail(what, "%v", d.noConfig).with(hintConfigFlag)}
	}
	var all []finding
	if err := d.diagnostics.Err(); err != nil {
		hint := hintDoctorConfig
		if _, gone := os.Stat(d.file); errors.Is(gone, fs.ErrNotExist) {
			hint = hintDoctorInit
		}
		all = append(all, fail(what, "%v", err).with("%s", hint))
	} else {
		all = append(all, pass(what, "%s: %s, %s, %s", d.file, counted(len(d.config.Vaults), "vault"),
			counted(len(d.config.Listeners), "listener"), counted(len(d.config.Rules), "rule")))
	}
	for _, line := range d.diagnostics.Warnings() {
		all = append(all, warn(what, "%s", line).with(hintDoctorConfig))
	}
	if d.config == nil {
		all = append(all, warn("vaults", textDoctorUnread))
	}
	return all
}

// examineFiles looks for what other users could change or read.
func (d *doctor) examineFiles(context.Context) []finding {
	const what = "files"
	if !modesTell {
		return []finding{pass(what, textDoctorNoModes)}
	}
	var all []finding
	if d.noConfig == nil {
		all = append(all, writable(d.file), writable(filepath.Dir(d.file)))
	}
	if d.config != nil {
		for _, v := range d.config.Vaults {
			all = append(all, readable(v.ClientKey))
		}
		all = append(all, readable(d.config.Audit.File))
	}
	all = append(all, runtimeFolder(d.runtimeDir()))
	bad := all[:0]
	for _, f := range all {
		if f.Finding != "" {
			bad = append(bad, f)
		}
	}
	if len(bad) == 0 {
		return []finding{pass(what, textDoctorFiles)}
	}
	return bad
}

// writable finds who else could change what the agent does: a configuration
// names the Vault that gets the tokens, and programs to start.
func writable(path string) finding {
	info, err := os.Stat(path)
	if err != nil {
		return finding{} // that it cannot be read has been said
	}
	if uid := ownerOf(info); uid != os.Geteuid() && uid != 0 {
		return fail("files", textDoctorOwner, path, uid).with(hintDoctorOwner)
	}
	find := warn // a group may be the person's own
	switch mode := info.Mode(); {
	case mode&fs.ModeSticky != 0, mode.Perm()&0o022 == 0:
		return finding{}
	case mode.Perm()&0o002 != 0:
		find = fail
	}
	return find("files", textDoctorWritable, path).with(hintDoctorWritable, shellQuote(path))
}

// readable finds who else could read what is meant for one.
func readable(path string) finding {
	info, err := os.Stat(path)
	if path == "" || err != nil || info.Mode().Perm()&0o077 == 0 {
		return finding{}
	}
	return warn("files", textDoctorReadable, path).with(hintDoctorReadable, shellQuote(path))
}

func runtimeFolder(path string) finding {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return finding{} // the agent makes it
	case !info.IsDir():
		return fail("files", textDoctorNoFolder, path).with(hintDoctorRuntime)
	case ownerOf(info) != os.Geteuid():
		return fail("files", textDoctorOwner, path, ownerOf(info)).with(hintDoctorRuntime)
	}
	return finding{}
}

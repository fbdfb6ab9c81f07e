package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vault-stepup/stepup/ownership"
)

// unsafe is what a check of package ownership found, nil where all is well or the file
// cannot be looked at: opening it will tell.
func unsafe(err error) *ownership.Unsafe {
	var found *ownership.Unsafe
	if errors.As(err, &found) {
		return found
	}
	return nil
}

// safe refuses a path that another user could change: what stands there decides which
// Vault gets the tokens, or in whose name the agent speaks.
func (d *decoder) safe(name string, t text, check func(string) error) bool {
	found := unsafe(check(t.value))
	if found != nil {
		d.fail(t.at, say("another user could change %s: %v", name, found).hint("%s", found.Fix()))
	}
	return found == nil
}

// unsafeProgram is what lets another user change a program, which would then run as this
// user. That is a warning and no error: package managers (Homebrew) install into folders of
// the one person, or group, that manages them.
func unsafeProgram(path string) *ownership.Unsafe {
	if !filepath.IsAbs(path) {
		found, err := exec.LookPath(path)
		if err != nil {
			return nil // it may be found where the agent runs
		}
		path = found
	}
	return unsafe(ownership.Check(path))
}

// tls checks how the connection to Vault is secured. The files are read now, so
// that a wrong path is an error at its line and not of the first request.
func (b *block) tls(v *Vault) {
	if t, content, ok := b.pem("ca_cert"); ok && !x509.NewCertPool().AppendCertsFromPEM(content) {
		b.d.fail(t.at, say("there is no PEM certificate in %s", t.shown))
	}
	if t, ok := b.text("ca_path"); ok {
		b.authorities(t)
	}
	t, cert, certOK := b.pem("client_cert")
	_, key, keyOK := b.pem("client_key")
	for have, lacks := range map[string]string{"client_cert": "client_key", "client_key": "client_cert"} {
		if b.has(have) && !b.has(lacks) {
			b.d.fail(b.at(have), say("%s needs %s", have, lacks).hint("add %s = …", lacks))
		}
	}
	if certOK && keyOK {
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			b.d.fail(t.at, say("client_cert and client_key do not work together").because("%s", strings.TrimPrefix(err.Error(), "tls: ")))
		}
	}
	if v.Address == nil || v.Address.Scheme == "https" {
		return
	}
	for _, name := range []string{"ca_cert", "ca_path", "client_cert", "client_key", "tls_server_name", "tls_skip_verify"} {
		if b.has(name) {
			b.d.warn(b.whole(name), say("%s has no effect with %s://", name, v.Address.Scheme))
		}
	}
}

// authorities looks at a folder of certificates, and at each of them.
func (b *block) authorities(dir text) {
	entries, err := os.ReadDir(dir.value)
	if err != nil {
		b.d.fail(dir.at, wordsUnreadable("ca_path", dir, err))
		return
	}
	if !b.d.safe("ca_path", dir, ownership.Check) {
		return
	}
	for _, e := range entries {
		file := dir
		file.value = filepath.Join(dir.value, e.Name())
		if !b.d.safe("ca_path", file, ownership.Check) {
			return
		}
	}
}

// pem reads the file that an argument names. If it cannot be used, that has been reported.
func (b *block) pem(name string) (t text, content []byte, ok bool) {
	t, ok = b.text(name)
	if !ok || !b.d.safe(name, t, ownership.Check) {
		return t, nil, false
	}
	content, err := readFile(t.value, maxPemFile)
	if err != nil {
		b.d.fail(t.at, wordsUnreadable(name, t, err))
	}
	return t, content, err == nil
}

// notFolder refuses a folder in the place of a file, or socket, that the agent makes.
func (d *decoder) notFolder(name string, t text) {
	if info, err := os.Stat(t.value); err == nil && info.IsDir() {
		d.fail(t.at, say("%s is a folder: %s", name, t.shown).hint("name a file in it"))
	}
}

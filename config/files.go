package config

import (
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/vault-stepup/stepup/ownership"
)

// tls reads how the connection to Vault is secured. The files are read now, so
// that a wrong path is an error at its line and not of the first request.
func (b *block) tls(v *Vault) {
	if t, ok := b.pem("ca_cert"); ok {
		v.CACert = t.path
		if !x509.NewCertPool().AppendCertsFromPEM(t.content) {
			b.d.fail(t.at.at, wordsNoCertificate(t.at))
		}
	}
	if t, ok := b.absolute("ca_path"); ok {
		v.CAPath = t.value
		b.authorities(t)
	}
	cert, certOK := b.pem("client_cert")
	key, keyOK := b.pem("client_key")
	v.ClientCert, v.ClientKey = cert.path, key.path
	if b.has("client_cert") != b.has("client_key") {
		have, lacks := "client_cert", "client_key"
		if b.has(lacks) {
			have, lacks = lacks, have
		}
		b.d.fail(b.body.Attributes[have].NameRange, wordsAlone(have, lacks))
	}
	if certOK && keyOK {
		if _, err := tls.X509KeyPair(cert.content, key.content); err != nil {
			b.d.fail(cert.at.at, wordsKeyPair(err))
		}
	}
	if t, ok := b.text("tls_server_name"); ok {
		v.TLSServerName = t.value
	}
	b.flag("tls_skip_verify", &v.TLSSkipVerify)
	if v.Address == nil || v.Address.Scheme == "https" {
		return
	}
	for _, a := range sortedAttributes(b.body) {
		switch a.Name {
		case "ca_cert", "ca_path", "client_cert", "client_key", "tls_server_name", "tls_skip_verify":
			b.d.warn(a.SrcRange, wordsNoTLS(a.Name, v.Address.Scheme))
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

type pemFile struct {
	path    string
	content []byte
	at      text
}

func (b *block) pem(name string) (pemFile, bool) {
	t, ok := b.absolute(name)
	if !ok {
		return pemFile{}, false
	}
	if !b.d.safe(name, t, ownership.Check) {
		return pemFile{path: t.value}, false
	}
	content, err := readFile(t.value, maxPemFile)
	if err != nil {
		b.d.fail(t.at, wordsUnreadable(name, t, err))
		return pemFile{path: t.value}, false
	}
	return pemFile{path: t.value, content: content, at: t}, true
}

// notFolder refuses a folder in the place of a file, or socket, that the agent makes.
func (d *decoder) notFolder(name string, t text) {
	if info, err := os.Stat(t.value); err == nil && info.IsDir() {
		d.fail(t.at, wordsFolder(name, t))
	}
}

// size reads a number of bytes up to limit, or text such as "512KiB".
func (b *block) size(name string, limit int64, target *int64) {
	a, ok := b.body.Attributes[name]
	if !ok {
		return
	}
	v, ok := b.d.evaluate(a.Expr, wantSize)
	if !ok {
		return
	}
	n, ok := sizeOf(v)
	switch {
	case !ok:
		b.d.fail(a.Expr.Range(), wordsType(wantSize, b.d.source(a.Expr.Range())))
	case n < 0 || n > limit:
		b.d.fail(a.Expr.Range(), wordsSizeRange(name, limit))
	default:
		*target = n
	}
}

func sizeOf(v cty.Value) (int64, bool) {
	switch {
	case isA(v, cty.Number):
		n, accuracy := v.AsBigFloat().Int64()
		return n, accuracy == big.Exact
	case isA(v, cty.String):
		return parseSize(v.AsString())
	}
	return 0, false
}

// parseSize reads "1MiB", "512 KiB", "100B" or "4096".
func parseSize(s string) (int64, bool) {
	unit := int64(1)
	for _, u := range []struct {
		suffix string
		bytes  int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}} {
		if rest, ok := strings.CutSuffix(s, u.suffix); ok {
			s, unit = strings.TrimRight(rest, " "), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return 0, false
	}
	return n * unit, true
}

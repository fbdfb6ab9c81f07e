package vault

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

var errNoCertificate = errors.New("no PEM certificate in it")

// loadAuthorities reads the certificates of a file and of all PEM files right in
// a folder; "" is none.
func loadAuthorities(file, dir string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if file != "" {
		n, err := addAuthorities(pool, file)
		if err == nil && n == 0 {
			err = fmt.Errorf("%s: %w", file, errNoCertificate)
		}
		if err != nil {
			return nil, fmt.Errorf("ca_cert: %w", err)
		}
	}
	if dir != "" {
		if err := addFolder(pool, dir); err != nil {
			return nil, fmt.Errorf("ca_path: %w", err)
		}
	}
	return pool, nil
}

// addFolder passes over files without a PEM certificate (a README, a revocation
// list); a broken certificate is an error.
func addFolder(pool *x509.CertPool, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	total := 0
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		// Stat, not the entry's type: hash links and mounted secrets are symlinks.
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			continue
		}
		n, err := addAuthorities(pool, name)
		if err != nil {
			return err
		}
		total += n
	}
	if total == 0 {
		return fmt.Errorf("%s: %w", dir, errNoCertificate)
	}
	return nil
}

// addAuthorities adds the certificates of one file and counts them.
func addAuthorities(pool *x509.CertPool, file string) (int, error) {
	rest, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	n := 0
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return n, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return 0, fmt.Errorf("%s: certificate %d: %w", file, n+1, err)
		}
		pool.AddCert(cert)
		n++
	}
}

// stamps tell whether the authorities may have changed since they were read. Missing files
// have one, too.
func (t TLS) stamps() []fileStamp {
	files, folders := []string{t.CACert}, []string{t.CAPath}
	if !t.Plain && t.CACert == "" && t.CAPath == "" {
		files, folders = systemFiles()
	}
	var all []fileStamp
	for _, name := range append(files, folders...) {
		if name == "" {
			continue
		}
		var stamp fileStamp
		if info, err := os.Stat(name); err == nil {
			stamp = fileStamp{info.ModTime(), info.Size()}
		}
		all = append(all, stamp)
	}
	return all
}

// A clientPair is our certificate, read again when one of its files changes, so
// that short-lived certificates work without a reload.
type clientPair struct {
	certFile, keyFile string

	mu    sync.Mutex
	stamp [2]fileStamp
	pair  *tls.Certificate
}

type fileStamp struct {
	mod  time.Time
	size int64
}

// certificate returns the pair for one handshake. A pair that is just being
// replaced (files that do not fit, or are gone for a moment) is no reason to
// fail as long as the one in memory is valid.
func (p *clientPair) certificate() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.reloadLocked()
	if err == nil || (p.pair != nil && time.Now().Before(p.pair.Leaf.NotAfter)) {
		return p.pair, nil
	}
	return nil, err
}

func (p *clientPair) reloadLocked() error {
	cert, err := os.Stat(p.certFile)
	if err != nil {
		return fmt.Errorf("client_cert: %w", err)
	}
	key, err := os.Stat(p.keyFile)
	if err != nil {
		return fmt.Errorf("client_key: %w", err)
	}
	now := [2]fileStamp{{cert.ModTime(), cert.Size()}, {key.ModTime(), key.Size()}}
	if p.pair != nil && now == p.stamp {
		return nil
	}
	pair, err := loadPair(p.certFile, p.keyFile)
	if err == nil {
		p.pair, p.stamp = pair, now
	}
	return err
}

// loadPair reads both files itself: tls.LoadX509KeyPair does not name the one that is wrong.
func loadPair(certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := readPEM(certFile)
	if err != nil {
		return nil, fmt.Errorf("client_cert: %w", err)
	}
	key, err := readPEM(keyFile)
	if err != nil {
		return nil, fmt.Errorf("client_key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("client_cert %s and client_key %s: %w", certFile, keyFile, err)
	}
	if pair.Leaf == nil { // GODEBUG=x509keypairleaf=0
		return nil, errors.New("client_cert " + certFile + ": no leaf certificate")
	}
	return &pair, nil
}

func readPEM(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(text); block == nil {
		return nil, fmt.Errorf("%s: no PEM block in the file", file)
	}
	return text, nil
}

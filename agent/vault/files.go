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

// loadAuthorities reads the certificates of a file and of all PEM files right in
// a folder. Files of the folder without a PEM certificate are passed over (a
// README, a revocation list); a broken certificate is an error anywhere.
func loadAuthorities(file, dir string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if file != "" {
		n, err := addAuthorities(pool, file)
		if err != nil {
			return nil, fmt.Errorf("ca_cert: %w", err)
		}
		if n == 0 {
			return nil, fmt.Errorf("ca_cert: %s: no PEM certificate in the file", file)
		}
	}
	if dir == "" {
		return pool, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("ca_path: %w", err)
	}
	total := 0
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		// Stat, not the entry's type: hash links and mounted secrets are symlinks.
		info, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("ca_path: %w", err)
		}
		if !info.Mode().IsRegular() {
			continue
		}
		n, err := addAuthorities(pool, name)
		if err != nil {
			return nil, fmt.Errorf("ca_path: %w", err)
		}
		total += n
	}
	if total == 0 {
		return nil, fmt.Errorf("ca_path: %s: no PEM certificate in the folder", dir)
	}
	return pool, nil
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
	cert, err := stamp(p.certFile)
	if err != nil {
		return fmt.Errorf("client_cert: %w", err)
	}
	key, err := stamp(p.keyFile)
	if err != nil {
		return fmt.Errorf("client_key: %w", err)
	}
	if now := [2]fileStamp{cert, key}; p.pair == nil || now != p.stamp {
		pair, err := loadPair(p.certFile, p.keyFile)
		if err != nil {
			return err
		}
		p.pair, p.stamp = pair, now
	}
	return nil
}

func stamp(file string) (fileStamp, error) {
	info, err := os.Stat(file)
	if err != nil {
		return fileStamp{}, err
	}
	return fileStamp{mod: info.ModTime(), size: info.Size()}, nil
}

func loadPair(certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return nil, fmt.Errorf("client_cert: %w", err)
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("client_key: %w", err)
	}
	if block, _ := pem.Decode(cert); block == nil {
		return nil, fmt.Errorf("client_cert: %s: no PEM certificate in the file", certFile)
	}
	if block, _ := pem.Decode(key); block == nil {
		return nil, fmt.Errorf("client_key: %s: no PEM key in the file", keyFile)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("client_cert %s and client_key %s: %w", certFile, keyFile, err)
	}
	if pair.Leaf == nil {
		return nil, errors.New("client_cert " + certFile + ": no leaf certificate")
	}
	return &pair, nil
}

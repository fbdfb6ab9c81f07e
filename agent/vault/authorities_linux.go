package vault

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
)

// systemFiles are where crypto/x509 finds the system's authorities (root_linux.go): the first
// of the files, and all of the folders.
func systemFiles() (files, folders []string) {
	files = []string{
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/ca-bundle.pem",
		"/etc/pki/tls/cacert.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
		"/etc/ssl/cert.pem",
	}
	folders = []string{"/etc/ssl/certs", "/etc/pki/tls/certs"}
	if f := os.Getenv("SSL_CERT_FILE"); f != "" {
		files = []string{f}
	}
	if d := os.Getenv("SSL_CERT_DIR"); d != "" {
		folders = strings.Split(d, ":")
	}
	return files, folders
}

// systemAuthorities reads the authorities of the system, which crypto/x509 does once for a
// process. nil leaves it to crypto/x509.
func systemAuthorities() *x509.CertPool {
	files, folders := systemFiles()
	pool, found := x509.NewCertPool(), false
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			found = pool.AppendCertsFromPEM(text) || found
			break
		}
	}
	for _, folder := range folders {
		entries, err := os.ReadDir(folder)
		if err != nil {
			continue
		}
		for _, e := range entries {
			name := filepath.Join(folder, e.Name())
			if target, err := os.Readlink(name); err == nil && !strings.Contains(target, "/") {
				continue // another name of a file of the same folder
			}
			if text, err := os.ReadFile(name); err == nil {
				found = pool.AppendCertsFromPEM(text) || found
			}
		}
	}
	if !found {
		return nil
	}
	return pool
}

package okta

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// listen takes port 443 of a loopback address. Linux has 16 million of them, so
// two runs of the tests do not meet, nor do they meet a server of the machine.
func listen() (net.Listener, error) {
	addr := net.IPv4(127, 0, 0, 1)
	if runtime.GOOS == "linux" {
		var random [3]byte
		_, _ = rand.Read(random[:]) // never fails (crypto/rand)
		addr = net.IPv4(127, 1|random[0]>>1, random[1], 1|random[2]>>1)
	}
	return net.Listen("tcp", net.JoinHostPort(addr.String(), "443"))
}

// certify makes a certificate for addr, and writes it where Vault can read it.
func certify(addr net.IP, dir string) (*tls.Config, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a stub of Okta"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{addr}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, "", err
	}
	file := filepath.Join(dir, "okta.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, "", fmt.Errorf("certificate: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, file, nil
}

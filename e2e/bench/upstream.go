package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	gigabyte = 1 << 30

	callerToken = "hvs.caller"
	stepUpToken = "hvs.step-up"

	secretPath   = "/v1/kv/data/app/web"
	guardedPath  = "/v1/kv/data/guarded/db" // answered only to stepUpToken
	mintPath     = "auth/token/create/guarded"
	snapshotPath = "/v1/sys/storage/raft/snapshot"
	monitorPath  = "/v1/sys/monitor"
)

// secretAnswer is half a KiB of JSON, as Vault answers with a secret.
func secretAnswer() string {
	return `{"request_id":"8f6a","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":{"user":"app","password":"` +
		strings.Repeat("x", 330) + `"},"metadata":{"version":3}},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}` + "\n"
}

func answer(status, body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
}

// An upstream answers like Vault, with as little work as can be: each answer is ready
// before the request comes.
type upstream struct {
	secret, refused []byte
	others          map[string][]byte // by path
}

func newUpstream() *upstream {
	return &upstream{
		secret:  answer("200 OK", secretAnswer()),
		refused: answer("403 Forbidden", `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`),
		others: map[string][]byte{
			"/v1/" + mintPath:            answer("200 OK", `{"auth":{"client_token":"`+stepUpToken+`","accessor":"b","lease_duration":3600}}`),
			"/v1/sys/capabilities-self":  answer("200 OK", `{"data":{"capabilities":["read","update"]}}`),
			"/v1/auth/token/lookup-self": answer("200 OK", `{"data":{"accessor":"a","policies":["default"],"ttl":3600,"num_uses":0}}`),
		},
	}
}

// serve answers the requests of each connection, one after the other.
func (u *upstream) serve(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			r := bufio.NewReaderSize(conn, 4<<10)
			for u.one(conn, r) == nil {
			}
		}()
	}
}

func (u *upstream) one(w io.Writer, r *bufio.Reader) error {
	h, err := readHead(r)
	if err != nil {
		return err
	}
	if _, err := h.skipBody(r); err != nil {
		return err
	}
	method, rest, _ := strings.Cut(h.first, " ")
	path, _, _ := strings.Cut(rest, " ")
	switch {
	case path == snapshotPath && method == http.MethodGet:
		return sendGigabyte(w)
	case path == monitorPath:
		return stream(w, r)
	}
	_, err = w.Write(u.answerTo(path, h.token))
	return err
}

func (u *upstream) answerTo(path, token string) []byte {
	if path == guardedPath && token != stepUpToken {
		return u.refused
	}
	if other := u.others[path]; other != nil {
		return other
	}
	return u.secret
}

func sendGigabyte(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Type: application/gzip\r\nContent-Length: %d\r\n\r\n", gigabyte); err != nil {
		return err
	}
	chunk := make([]byte, 64<<10)
	for n := 0; n < gigabyte; n += len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			return err
		}
	}
	return nil
}

// stream sends the first line of a log, and no other one until the client leaves.
func stream(w io.Writer, r *bufio.Reader) error {
	const line = "2026-01-01T00:00:00.000Z [INFO]  core: ready\n"
	const first = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
	if _, err := fmt.Fprintf(w, "%s%x\r\n%s\r\n", first, len(line), line); err != nil {
		return err
	}
	_, err := r.ReadByte()
	return err
}

// serveUpstream is the process of the upstream. It writes its certificate into dir, prints
// its three addresses (plain, TLS with HTTP/1.1, TLS with HTTP/2), and ends with its input.
func serveUpstream(dir string) error {
	cert, err := certificate(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return err
	}
	var listeners [3]net.Listener
	for i := range listeners {
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
	}
	u := newUpstream()
	go u.serve(listeners[0])
	go u.serve(tls.NewListener(listeners[1], &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}))
	h2 := &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, secretAnswer())
		}),
	}
	go func() { _ = h2.ServeTLS(listeners[2], "", "") }()
	fmt.Println(listeners[0].Addr(), listeners[1].Addr(), listeners[2].Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// certificate makes one for 127.0.0.1, and writes it to file for its clients.
func certificate(file string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, os.WriteFile(file, text, 0o600)
}

package demo

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/devvault"
)

// What the development Vault of the demo holds.
const (
	demoUser     = "alice"
	demoPassword = "teatime" // of a Vault that lives as long as the demo
	demoMount    = "userpass"
	demoPolicy   = "app"

	methodCorp    = "corp_totp"
	methodPayroll = "payroll_totp"
	methodSigning = "signing_totp"
	methodLogin   = "login_totp"
	methodOkta    = "corp_okta"

	pathOrdinary = "kv/data/app/config"
	pathDB       = "kv/data/prod/db"
	pathPayroll  = "kv/data/prod/payroll"
	pathSigning  = "kv/data/prod/signing"
	pathDeploy   = "kv/data/prod/deploy"
	pathLogin    = "auth/" + demoMount + "/login/" + demoUser
	pathSelf     = "auth/token/lookup-self"

	// The calls that stepup makes itself.
	pathProbe    = "sys/capabilities-self"
	pathValidate = "sys/mfa/validate"
	pathHealth   = "sys/health"
)

// A demoVault is the Vault of the demo, with a log of its wire.
type demoVault struct {
	*devvault.Server
	wire  *wireLog
	phone *devvault.Push
	token string // of the demo's app
	url   string

	http   *http.Server
	served chan struct{}
}

// newDemoVault sets up a Vault and serves it on a free port of 127.0.0.1 until
// Close. between is put between the log and the Vault; nil puts nothing there.
func newDemoVault(ctx context.Context, between func(*devvault.Server) http.Handler) (*demoVault, error) {
	v := &demoVault{Server: devvault.New(devvault.Config{}), served: make(chan struct{})}
	if err := v.setUp(); err != nil {
		return nil, err
	}
	v.wire = &wireLog{next: v.Server}
	if between != nil {
		v.wire.next = between(v.Server)
	}
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the development Vault: %w", err)
	}
	v.url = "http://" + l.Addr().String()
	v.http = &http.Server{Handler: v.wire, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(v.served)
		_ = v.http.Serve(l) // it always ends with an error, by Close
	}()
	return v, nil
}

// Close ends every request and waits until nothing listens.
func (v *demoVault) Close() {
	_ = v.http.Close()
	<-v.served
	v.Server.Close()
}

// setUp adds the person, the secrets and the policy that guards them.
func (v *demoVault) setUp() error {
	alice := v.AddUser(demoMount, demoUser, demoPassword, demoPolicy)
	for _, m := range []string{methodCorp, methodPayroll, methodSigning, methodLogin} {
		v.AddTOTPMethod(m)
		if _, _, err := v.EnrolTOTP(m, alice); err != nil {
			return err
		}
	}
	v.phone = v.AddPushMethod(methodOkta, "okta")
	if err := v.AddLoginEnforcement("people", []string{methodLogin}, []string{demoMount}); err != nil {
		return err
	}
	read := []string{"read"}
	v.AddPolicy(demoPolicy,
		devvault.PathRule{Path: "kv/data/app/*", Capabilities: read},
		devvault.PathRule{Path: "kv/data/prod/*", Capabilities: read, MFAMethods: []string{methodCorp}},
		devvault.PathRule{Path: pathPayroll, Capabilities: read, MFAMethods: []string{methodPayroll}},
		devvault.PathRule{Path: pathSigning, Capabilities: read, MFAMethods: []string{methodSigning}},
		devvault.PathRule{Path: pathDeploy, Capabilities: read, MFAMethods: []string{methodOkta}},
	)
	for path, data := range demoSecrets() {
		if err := v.PutSecret(path, data); err != nil {
			return err
		}
	}
	v.token = v.CreateToken([]string{"default", demoPolicy}, alice)
	return nil
}

// phoneCode is what the person's phone shows for a method, "" when every code was used.
// current says that it is the code of this moment, and not the next one.
func (v *demoVault) phoneCode(method string) (code string, current bool) {
	code = v.UnusedCode(method, demoUser)
	return code, code == v.Code(method, demoUser)
}

func demoSecrets() map[string]map[string]any {
	return map[string]map[string]any{
		pathOrdinary: {"greeting": "hello", "theme": "green"},
		pathDB:       {"user": "app", "password": "tulip-anchor-forty"},
		pathPayroll:  {"user": "payroll", "password": "velvet-otter-nine"},
		pathSigning:  {"key": "nobody-sees-this-one"},
		pathDeploy:   {"token": "maple-comet-six"},
	}
}

// An exchange is one request that Vault got, and the answer that it gave.
type exchange struct {
	path   string // without /v1/
	mfa    int    // lines of X-Vault-MFA
	status int
	header http.Header
	body   []byte
}

// String is the exchange in a line. The codes are not in it.
func (e exchange) String() string {
	with := ""
	if e.mfa > 0 {
		with = " with X-Vault-MFA"
	}
	return fmt.Sprintf("%s%s: %d", e.path, with, e.status)
}

// A wireLog sees what Vault gets and sends.
type wireLog struct {
	next http.Handler

	mu   sync.Mutex
	done bool // nothing is added to seen any more
	seen []exchange
}

// ServeHTTP implements http.Handler. The exchange is noted before the app can
// have the end of the answer: the handler has not returned.
func (t *wireLog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tw := &wireWriter{ResponseWriter: w, exchange: exchange{
		path: strings.TrimPrefix(r.URL.Path, "/v1/"),
		mfa:  len(r.Header.Values("X-Vault-MFA")),
	}}
	t.next.ServeHTTP(tw, r)
	if tw.path == pathHealth {
		return // asked for a status, not by the app
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.done {
		t.seen = append(t.seen, tw.exchange)
	}
}

// off ends the log.
func (t *wireLog) off() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done, t.seen = true, nil
}

// take returns what was seen since the last take.
func (t *wireLog) take() []exchange {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen := t.seen
	t.seen = nil
	return seen
}

type wireWriter struct {
	http.ResponseWriter
	exchange
}

// WriteHeader implements http.ResponseWriter.
func (w *wireWriter) WriteHeader(status int) {
	w.status, w.header = status, w.Header().Clone()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *wireWriter) Write(p []byte) (int, error) {
	if w.header == nil {
		w.status, w.header = http.StatusOK, w.Header().Clone()
	}
	w.body = append(w.body, p[:min(len(p), maxLogged-len(w.body))]...)
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController flush.
func (w *wireWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// maxLogged is more than any answer of the tour.
const maxLogged = 64 << 10

// sameAnswer reports how an answer differs from what Vault sent; nil when it is
// that byte for byte. Date and Content-Length come from Vault's HTTP server,
// behind the log.
func sameAnswer(got appAnswer, sent exchange) error {
	if got.status != sent.status {
		return fmt.Errorf("status %d became %d", sent.status, got.status)
	}
	if !bytes.Equal(got.body, sent.body) {
		return fmt.Errorf("the body is not Vault's")
	}
	for name, values := range sent.header {
		if strings.Join(values, "\x00") != strings.Join(got.header.Values(name), "\x00") {
			return fmt.Errorf("the header %s is not Vault's", name)
		}
	}
	for name := range got.header {
		if _, ok := sent.header[name]; !ok && name != "Date" && name != "Content-Length" {
			return fmt.Errorf("the header %s was added", name)
		}
	}
	return nil
}

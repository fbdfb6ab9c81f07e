package vault

import (
	"crypto/x509"
	"errors"
	"net/http"
	"regexp"
	"strings"
)

// A RedactingTransport cuts down what errors quote of an answer. net/http quotes a
// line that is no HTTP as it is, up to a megabyte of it. The server at Vault's
// address may send our request back, token and codes included, and errors go into
// the log and to the app.
type RedactingTransport struct{ Base http.RoundTripper }

var _ http.RoundTripper = RedactingTransport{}

// RoundTrip implements http.RoundTripper. Errors unwrap to those of Base.
func (t RedactingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.Base.RoundTrip(r)
	switch {
	case err != nil:
		return nil, redact(err)
	case resp.StatusCode < http.StatusContinue:
		_ = resp.Body.Close()
		return nil, errNoStatus // a server that hands it on panics
	}
	return resp, nil
}

var errNoStatus = errors.New("the status of the answer is no HTTP status")

// A redactedError is an error with less in its text.
type redactedError struct {
	text string
	err  error
}

func (e *redactedError) Error() string { return e.text }

func (e *redactedError) Unwrap() error { return e.err }

// What is shown of a quotation, which is enough to know TLS or another protocol by
// it and no whole token; and of an error.
const (
	maxQuoted      = 16
	maxRedactError = 500
)

// quoted finds what %q has written.
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

func redact(err error) error {
	text := err.Error()
	if !strings.Contains(text, "x509: ") { // names of certificates, which people need
		text = quoted.ReplaceAllStringFunc(text, func(q string) string {
			if len(q) <= maxQuoted+len(`""`) {
				return q
			}
			return strings.TrimRight(q[:maxQuoted+1], `\`) + `..."`
		})
	}
	if len(text) > maxRedactError {
		text = strings.ToValidUTF8(text[:maxRedactError], "") + "..."
	}
	if hint := Hint(err); hint != "" {
		text += ": " + hint
	}
	if text == err.Error() {
		return err
	}
	return &redactedError{text, err}
}

// Hint is what to do about a certificate that is not trusted; "" where the error is another.
func Hint(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "name the PEM file of its authority by ca_cert in the vault block"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "use one of its names in the address, or set tls_server_name in the vault block"
	}
	return ""
}

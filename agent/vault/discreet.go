package vault

import (
	"errors"
	"net/http"
	"regexp"
	"strings"
)

// Discreet is a way to Vault whose errors say little of what came back. net/http
// quotes the line that is no HTTP as it is, up to a megabyte of it. Whatever stands
// at Vault's address may send our request back, token and codes included, and errors
// go into the log and to the app.
type Discreet struct{ Base http.RoundTripper }

var _ http.RoundTripper = Discreet{}

// RoundTrip implements http.RoundTripper. Errors unwrap to those of Base.
func (d Discreet) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := d.Base.RoundTrip(r)
	switch {
	case err != nil:
		return nil, discreet(err)
	case resp.StatusCode < http.StatusContinue:
		_ = resp.Body.Close()
		return nil, errNoStatus // a server that hands it on panics
	}
	return resp, nil
}

var errNoStatus = errors.New("the status of the answer is no HTTP status")

// A discreetError is an error with less in its text.
type discreetError struct {
	text string
	err  error
}

func (e *discreetError) Error() string { return e.text }

func (e *discreetError) Unwrap() error { return e.err }

// What is shown of a quotation, which is enough to know TLS or another protocol by
// it and no whole token; and of an error.
const (
	maxQuoted = 16
	maxFault  = 500
)

// quoted finds what %q has written.
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

func discreet(err error) error {
	full := err.Error()
	text := full
	if !strings.Contains(text, "x509: ") { // names of certificates, which people need
		text = quoted.ReplaceAllStringFunc(text, func(q string) string {
			if len(q) <= maxQuoted+len(`""`) {
				return q
			}
			return strings.TrimRight(q[:maxQuoted+1], `\`) + `..."`
		})
	}
	if len(text) > maxFault {
		text = strings.ToValidUTF8(text[:maxFault], "") + "..."
	}
	if text == full {
		return err
	}
	return &discreetError{text, err}
}

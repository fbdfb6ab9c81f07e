package vault

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// speaks answers every request with these bytes.
func speaks(t *testing.T, answer string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = c.Read(make([]byte, 4096))
				_, _ = io.WriteString(c, answer)
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}

func TestRedactingTransport(t *testing.T) {
	t.Parallel()
	const token = "hvs.CAESIJ0123456789"
	for name, tt := range map[string]struct{ answer, want string }{
		"a header that echoes the token": {"HTTP/1.1 200 OK\r\nX-Vault-Token " + token + "\r\n\r\n", `malformed MIME header: missing colon: "X-Vault-Token hv..."`},
		"a line without end":             {strings.Repeat("A", 400<<10) + "\r\n\r\n", `malformed HTTP response "AAAAAAAAAAAAAAAA..."`},
		"quotes in quotes":               {`x"y` + token + "\r\n\r\n", `malformed HTTP response "x\"yhvs.CAESIJ01..."`},
		"TLS":                            {"\x15\x03\x01\x00\x02\x02\x50", `malformed HTTP response "\x15\x03\x01\x00..."`},
		"a short word":                   {"SSH-2.0\r\n\r\n", `malformed HTTP response "SSH-2.0"`},
		"no status":                      {"HTTP/1.1 007 Bond\r\nContent-Length: 0\r\n\r\n", errNoStatus.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := get(RedactingTransport{newTransport(t, TLS{})}, speaks(t, tt.answer))
			if err == nil || !strings.HasSuffix(err.Error(), tt.want) || len(err.Error()) > maxRedactError+3 || strings.Contains(err.Error(), token) {
				t.Errorf("%.600v, want …%s", err, tt.want)
			}
		})
	}
}

// What callers look for in an error is still there, and what needs no change has
// none.
func TestRedactingTransportUnwraps(t *testing.T) {
	t.Parallel()
	long := fmt.Errorf("%w: %q", net.ErrClosed, strings.Repeat("x", 100))
	certificate := fmt.Errorf("tls: x509: unknown authority (candidate %q)", "The Root of a Company, 2026")
	for _, fault := range []error{long, net.ErrClosed, certificate} {
		_, err := RedactingTransport{failing{fault}}.RoundTrip(nil)
		if !errors.Is(err, fault) || errors.Is(fault, net.ErrClosed) && !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v has become %v", fault, err)
		}
		if changed := err.Error() != fault.Error(); changed != (fault == long) {
			t.Errorf("%v has become %v", fault, err)
		}
	}
}

type failing struct{ err error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }

package express

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const host = "Host: 127.0.0.1:8100\r\n"

func TestParseRequest(t *testing.T) {
	t.Parallel()
	get := func(lines string) string { return "GET /v1/kv/data/x HTTP/1.1\r\n" + lines + "\r\n" }
	tests := map[string]struct {
		bytes string
		want  finding
	}{
		"a read":              {get(host + "X-Vault-Token: hvs.x\r\nX-Vault-Request: true\r\n"), plain},
		"a write":             {"PUT /v1/kv/data/x HTTP/1.1\r\n" + host + "Content-Length: 2\r\n\r\n{}", plain},
		"a query":             {"GET /v1/kv/metadata/?list=true&a=%20b HTTP/1.1\r\n" + host + "\r\n", plain},
		"kept alive":          {get(host + "Connection: keep-alive\r\n"), plain},
		"kept alive, capital": {get(host + "Connection: Keep-Alive\r\n"), plain},
		"small letters":       {get("host: 127.0.0.1:8100\r\nx-vault-token: t\r\n"), plain},
		"blanks around":       {get("Host: \t127.0.0.1:8100 \r\n"), plain},
		"empty value":         {get(host + "X-Vault-Token:\r\n"), plain},
		"nothing":             {"", incomplete},
		"half a line":         {"GET /v1/x HT", incomplete},
		"half a head":         {"GET /v1/x HTTP/1.1\r\n" + host, incomplete},
		"no CR at the end":    {"GET /v1/x HTTP/1.1\r\n" + host + "\n", incomplete},

		"HTTP/1.0":         {"GET /v1/x HTTP/1.0\r\n" + host + "\r\n", other},
		"HTTP/2 preface":   {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", other},
		"small version":    {"GET /v1/x http/1.1\r\n" + host + "\r\n", other},
		"two blanks":       {"GET  /v1/x HTTP/1.1\r\n" + host + "\r\n", other},
		"blank in target":  {"GET /v1/x y HTTP/1.1\r\n" + host + "\r\n", other},
		"tab for a blank":  {"GET\t/v1/x HTTP/1.1\r\n" + host + "\r\n", other},
		"no target":        {"GET HTTP/1.1\r\n" + host + "\r\n", other},
		"a whole URL":      {"GET http://evil/v1/x HTTP/1.1\r\n" + host + "\r\n", other},
		"two slashes":      {"GET //evil/v1/x HTTP/1.1\r\n" + host + "\r\n", other},
		"a fragment":       {"GET /v1/x#y HTTP/1.1\r\n" + host + "\r\n", other},
		"a broken escape":  {"GET /v1/%zz HTTP/1.1\r\n" + host + "\r\n", other},
		"a cut escape":     {"GET /v1/%2 HTTP/1.1\r\n" + host + "\r\n", other},
		"beyond ASCII":     {"GET /v1/\xc3\xa4 HTTP/1.1\r\n" + host + "\r\n", other},
		"a backslash":      {"GET /v1\\x HTTP/1.1\r\n" + host + "\r\n", other},
		"CONNECT":          {"CONNECT vault:443 HTTP/1.1\r\n" + host + "\r\n", other},
		"HEAD":             {"HEAD /v1/x HTTP/1.1\r\n" + host + "\r\n", other},
		"OPTIONS":          {"OPTIONS * HTTP/1.1\r\n" + host + "\r\n", other},
		"unknown method":   {"BREW /v1/x HTTP/1.1\r\n" + host + "\r\n", other},
		"small method":     {"get /v1/x HTTP/1.1\r\n" + host + "\r\n", other},
		"a bare LF first":  {"\nGET /v1/x HTTP/1.1\r\n" + host + "\r\n", other},
		"empty line first": {"\r\n" + get(host), other},

		"no host":                  {get(""), other},
		"empty host":               {get("Host:\r\n"), other},
		"two hosts":                {get(host + host), other},
		"two lengths":              {get(host + "Content-Length: 1\r\nContent-Length: 1\r\n"), other},
		"lengths in a list":        {get(host + "Content-Length: 1, 1\r\n"), other},
		"a signed length":          {get(host + "Content-Length: +1\r\n"), other},
		"a length in hexadecimals": {get(host + "Content-Length: 0x1\r\n"), other},
		"an empty length":          {get(host + "Content-Length:\r\n"), other},
		"chunks":                   {get(host + "Transfer-Encoding: chunked\r\n"), other},
		"length and chunks":        {get(host + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), other},
		"chunks, capital":          {get(host + "TRANSFER-ENCODING: chunked\r\n"), other},
		"blank before the colon":   {get(host + "Content-Length : 1\r\n"), other},
		"a folded line":            {get(host + "X-A: b\r\n c: d\r\n"), other},
		"a tab folds, too":         {get(host + "X-A: b\r\n\tc\r\n"), other},
		"no colon":                 {get(host + "X-A\r\n"), other},
		"no name":                  {get(host + ": b\r\n"), other},
		"a bare LF":                {get(host + "X-A: b\nX-B: c\r\n"), other},
		"a bare CR":                {get(host + "X-A: b\rX-B: c\r\n"), other},
		"a NUL":                    {get(host + "X-A: \x00\r\n"), other},
		"beyond ASCII in a value":  {get(host + "X-A: \xff\r\n"), other},
		"a quote in a name":        {get(host + "X\"A: b\r\n"), other},
		"close":                    {get(host + "Connection: close\r\n"), other},
		"names of the connection":  {get(host + "Connection: X-Vault-Token\r\n"), other},
		"two of the connection":    {get(host + "Connection: keep-alive\r\nConnection: keep-alive\r\n"), other},
		"an upgrade":               {get(host + "Upgrade: h2c\r\n"), other},
		"an expectation":           {get(host + "Expect: 100-continue\r\n"), other},
		"trailers announced":       {get(host + "Trailer: X-A\r\n"), other},
		"TE":                       {get(host + "TE: trailers\r\n"), other},
		"for a proxy":              {get(host + "Proxy-Authorization: x\r\n"), other},
		"an origin":                {get(host + "Origin: http://evil\r\n"), other},
		"a referer":                {get(host + "Referer: http://evil\r\n"), other},
		"a browser's own":          {get(host + "Sec-Fetch-Site: cross-site\r\n"), other},
		"a second factor":          {get(host + "X-Vault-MFA: m:123456\r\n"), other},
		"a wrapped answer":         {get(host + "X-Vault-Wrap-TTL: 60\r\n"), other},
		"a login on the way":       {get(host + "X-Vault-Inline-Auth-Path: auth/x/login\r\n"), other},
		"two tokens":               {get(host + "X-Vault-Token: a\r\nX-Vault-Token: b\r\n"), other},
		"two authorizations":       {get(host + "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"), other},
		"two namespaces":           {get(host + "X-Vault-Namespace: a\r\nX-Vault-Namespace: b\r\n"), other},
		"an empty namespace":       {get(host + "X-Vault-Namespace:\r\n"), other},
		"too many lines":           {get(host + strings.Repeat("X-A: b\r\n", maxLines)), other},
		"a long head":              {get(host + "X-A: " + strings.Repeat("b", maxHead) + "\r\n"), other},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var h requestHead
			if got := h.parse([]byte(tt.bytes)); got != tt.want {
				t.Errorf("finding %d, want %d", got, tt.want)
			}
		})
	}
}

func TestRequestForVault(t *testing.T) {
	t.Parallel()
	const sent = "GET /v1/x?a HTTP/1.1\r\nHost: localhost\r\nx-a: 1\r\nX-Vault-Token: own\r\nX-B:  2 \r\n" +
		"Authorization: Bearer own\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}next"
	tests := map[string]struct {
		config Config
		pass   Pass
		want   string
	}{
		"as it stands": {
			Config{Host: "vault:8200"}, Pass{},
			"GET /v1/x?a HTTP/1.1\r\nHost: vault:8200\r\nx-a: 1\r\nX-Vault-Token: own\r\nX-B:  2 \r\nAuthorization: Bearer own\r\nContent-Length: 2\r\n\r\n{}",
		},
		"base and namespace": {
			Config{Host: "vault", Base: "/vault", Namespace: "team"}, Pass{},
			"GET /vault/v1/x?a HTTP/1.1\r\nHost: vault\r\nx-a: 1\r\nX-Vault-Token: own\r\nX-B:  2 \r\nAuthorization: Bearer own\r\nContent-Length: 2\r\nX-Vault-Namespace: team\r\n\r\n{}",
		},
		"a step-up token in place of both": {
			Config{Host: "vault"}, Pass{Token: []byte("X-Vault-Token: hvs.step-up\r\n")},
			"GET /v1/x?a HTTP/1.1\r\nHost: vault\r\nx-a: 1\r\nX-B:  2 \r\nContent-Length: 2\r\nX-Vault-Token: hvs.step-up\r\n\r\n{}",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var h requestHead
			if h.parse([]byte(sent)) != plain {
				t.Fatal("not plain")
			}
			if d := cmp.Diff(tt.want, string(h.appendTo(nil, []byte(sent), &tt.config, tt.pass))); d != "" {
				t.Error(d)
			}
		})
	}
}

// FuzzRequest: what is plain is read by net/http in the same way, and so is what Vault gets
// of it: nothing is hidden in it, and no second request.
func FuzzRequest(f *testing.F) {
	f.Add([]byte("GET /v1/x HTTP/1.1\r\n" + host + "X-Vault-Token: t\r\n\r\n"))
	f.Add([]byte("POST /v1/x?a=b HTTP/1.1\r\n" + host + "Content-Length: 3\r\n\r\n{} GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte("LIST /v1/%2e%2e/x HTTP/1.1\r\nhost: a\r\nAuthorization:Bearer x\r\n\r\n"))
	f.Add([]byte("GET /v1/x HTTP/1.1\r\n" + host + "Content-Length: 1\r\nTransfer-Encoding : chunked\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h requestHead
		if h.parse(b) != plain || len(b) < h.length+h.Body {
			return
		}
		sent := h.appendTo(nil, b, &Config{Host: "vault:8200", Namespace: "team"}, Pass{})
		for from, raw := range map[string][]byte{"the app": b, "us": sent} {
			rest := bufio.NewReader(bytes.NewReader(raw))
			r, err := http.ReadRequest(rest)
			if err != nil {
				t.Fatalf("net/http refuses what is plain, as it comes from %s: %v\n%q", from, err, raw)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			got := []string{r.Method, r.RequestURI, r.Header.Get("X-Vault-Token"), r.Header.Get("Authorization"), strconv.Itoa(len(body)), string(body)}
			want := []string{h.Method, h.Target, h.Token, h.Authorization, strconv.Itoa(h.Body), string(b[h.length : h.length+h.Body])}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("from %s: %s\n%q", from, d, raw)
			}
			for _, name := range []string{"Transfer-Encoding", "Upgrade", "Expect", "Trailer", "Te", "X-Vault-Mfa", "Origin"} {
				if len(r.Header[name]) > 0 || len(r.TransferEncoding) > 0 || r.Close {
					t.Errorf("from %s: has %s: %q", from, name, raw)
				}
			}
			if left, _ := io.ReadAll(rest); from == "us" && len(left) > 0 {
				t.Errorf("something follows the request: %q", left)
			}
		}
	})
}

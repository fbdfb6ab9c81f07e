package relay_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/relay"
)

func TestRequestsArriveAsTheyWere(t *testing.T) {
	t.Parallel()
	const tail = "Host: x\r\nConnection: close\r\n\r\n"
	tests := map[string]struct{ request, want string }{
		"escaped slash":      {"GET /v1/kv/data/a%2Fb HTTP/1.1\r\n", "GET /v1/kv/data/a%2Fb HTTP/1.1\r\n"},
		"double slash":       {"GET /v1/kv//data//x HTTP/1.1\r\n", "GET /v1/kv//data//x HTTP/1.1\r\n"},
		"starts with two":    {"GET //v1/kv/data/x HTTP/1.1\r\n", "GET //v1/kv/data/x HTTP/1.1\r\n"},
		"trailing slash":     {"GET /v1/kv/data/x/ HTTP/1.1\r\n", "GET /v1/kv/data/x/ HTTP/1.1\r\n"},
		"dots":               {"GET /v1/kv/./a/../b/%2e%2e/c HTTP/1.1\r\n", "GET /v1/kv/./a/../b/%2e%2e/c HTTP/1.1\r\n"},
		"needless escapes":   {"GET /v1/%6bv/data/%7Ex HTTP/1.1\r\n", "GET /v1/%6bv/data/%7Ex HTTP/1.1\r\n"},
		"lower case escapes": {"GET /v1/kv/a%2fb%c3%a4 HTTP/1.1\r\n", "GET /v1/kv/a%2fb%c3%a4 HTTP/1.1\r\n"},
		"odd characters":     {"GET /v1/kv/a\"<>^`{|}b HTTP/1.1\r\n", "GET /v1/kv/a\"<>^`{|}b HTTP/1.1\r\n"},
		"query order":        {"GET /v1/x?z=1&a=2&z=0 HTTP/1.1\r\n", "GET /v1/x?z=1&a=2&z=0 HTTP/1.1\r\n"},
		"unparsable query":   {"GET /v1/x?a=%zz;b&&=c&+ HTTP/1.1\r\n", "GET /v1/x?a=%zz;b&&=c&+ HTTP/1.1\r\n"},
		"empty query":        {"GET /v1/x? HTTP/1.1\r\n", "GET /v1/x? HTTP/1.1\r\n"},
		"question marks":     {"GET /v1/x?a?b=?c HTTP/1.1\r\n", "GET /v1/x?a?b=?c HTTP/1.1\r\n"},
		"list":               {"LIST /v1/kv/metadata/ HTTP/1.1\r\n", "LIST /v1/kv/metadata/ HTTP/1.1\r\n"},
		"unknown method":     {"RECOVER /v1/kv/x HTTP/1.1\r\n", "RECOVER /v1/kv/x HTTP/1.1\r\n"},
		"options for all":    {"OPTIONS * HTTP/1.1\r\n", "OPTIONS * HTTP/1.1\r\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, got := rawUpstream(t, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
			f := newFixture(t, address, nil)
			raw(t, f.url, tt.request+tail)
			line, _, _ := strings.Cut(<-got, "\n")
			if line+"\n" != tt.want {
				t.Errorf("vault saw %q, want %q", line, tt.want)
			}
		})
	}
}

func TestHeadersArriveAsTheyWere(t *testing.T) {
	t.Parallel()
	address, got := rawUpstream(t, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	f := newFixture(t, address, nil)
	head := strings.Join([]string{
		"POST /v1/x HTTP/1.1", "Host: app.example", "Accept-Encoding: br, gzip", "Authorization: Bearer hvs.t",
		"Content-Length: 0", "Forwarded: for=1.2.3.4", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 5.6.7.8",
		"X-Forwarded-Host: h", "X-Forwarded-Proto: https", "X-Vault-Forward: active-node",
		"X-Vault-Inconsistent: forward-active-node", "X-Vault-Index: a", "X-Vault-Index: b", "X-Vault-Inline-Auth-Path: auth/userpass/login/a",
		"X-Vault-Mfa: a:1", "X-Vault-Mfa: b:2", "X-Vault-Namespace: ns1/", "X-Vault-Wrap-Ttl: 60s", "X-Empty: ", "Via: 1.0 other",
		"Connection: close", "", "",
	}, "\r\n")
	raw(t, f.url, head)
	sent, seen := lines(head), lines(<-got)
	seen["Host"] = sent["Host"] // the server's own name, by the nature of a relay
	delete(sent, "Connection")
	delete(seen, "Connection")
	if d := cmp.Diff(sent, seen); d != "" {
		t.Error(d)
	}
	if calls := f.resolver.noted(); len(calls) != 0 {
		t.Errorf("resolver was asked: %v", calls)
	}
}

func lines(head string) textproto.MIMEHeader {
	r := textproto.NewReader(bufio.NewReader(strings.NewReader(head)))
	_, _ = r.ReadLine()
	h, _ := r.ReadMIMEHeader()
	return h
}

func TestAnswersArriveAsTheyWere(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"nothing is guessed":   "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<html",
		"repeated headers":     "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Vault-Index: a\r\nX-Vault-Index: b\r\nDate: yesterday\r\n\r\n",
		"odd status":           "HTTP/1.1 473 Performance Standby\r\nContent-Length: 2\r\n\r\n{}",
		"moved elsewhere":      "HTTP/1.1 301 Moved Permanently\r\nContent-Length: 0\r\nLocation: /v1/x\r\n\r\n",
		"broken json":          "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: application/json\r\n\r\n{\"a\":",
		"json of another kind": "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Type: application/json\r\n\r\n[1,2,3]",
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, _ := rawUpstream(t, answer)
			f := newFixture(t, address, nil)
			got := raw(t, f.url, "GET /v1/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			gotHead, gotBody, _ := strings.Cut(got, "\r\n\r\n")
			wantHead, wantBody, _ := strings.Cut(answer, "\r\n\r\n")
			gotLines, wantLines := lines(gotHead+"\r\n\r\n"), lines(wantHead+"\r\n\r\n")
			gotLines.Del("Connection")
			if d := cmp.Diff(wantLines, gotLines); d != "" || gotBody != wantBody {
				t.Errorf("headers %s\nbody %q, want %q", d, gotBody, wantBody)
			}
			if a, b := strings.Fields(gotHead)[1], strings.Fields(wantHead)[1]; a != b {
				t.Errorf("status %s, want %s", a, b)
			}
		})
	}
}

func TestGzipStaysPacked(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	fmt.Fprint(z, `{"auth":null,"data":{"a":"b"}}`)
	z.Close()
	address := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	})
	f := newFixture(t, address, nil)
	req, _ := http.NewRequest("GET", f.url+"/v1/x", nil)
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(got, packed.Bytes()) || resp.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("body changed: %v, %d bytes, want %d; %v", err, len(got), packed.Len(), resp.Header)
	}
}

func TestTrailers(t *testing.T) {
	t.Parallel()
	seen := make(chan http.Header, 1)
	address := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		seen <- r.Trailer.Clone()
		w.Header().Set("Trailer", "X-After")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-After", "late")
		w.Header().Set(http.TrailerPrefix+"X-Unannounced", "later")
	})
	f := newFixture(t, address, nil)
	req, _ := http.NewRequest("POST", f.url+"/v1/x", io.MultiReader(strings.NewReader("up")))
	req.Trailer = http.Header{"X-Sum": {"1"}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(http.Header{"X-Sum": {"1"}}, <-seen); d != "" {
		t.Errorf("request: %s", d)
	}
	if d := cmp.Diff(http.Header{"X-After": {"late"}, "X-Unannounced": {"later"}}, resp.Trailer); d != "" {
		t.Errorf("answer: %s", d)
	}
}

// Each part must reach the app before the upstream sends the next, whatever
// its type: a relay that waits for more would never get it.
func TestStreams(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ media, first, second string }{
		"plain":            {"text/plain", "one\n", "two\n"},
		"lines of json":    {"application/json", "{\"a\":1}\n", "{\"b\":2}\n"},
		"half of a json":   {"application/json", `{"data":{"a":`, `1}}`},
		"challenge-like":   {"application/json", `{"warnings":["auth"],"data":[`, `"mfa_requirement"]}`},
		"headers come now": {"application/json", "", `{}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next := make(chan struct{})
			address := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", tt.media)
				_, _ = io.WriteString(w, tt.first)
				_ = http.NewResponseController(w).Flush()
				<-next
				_, _ = io.WriteString(w, tt.second)
			})
			f := newFixture(t, address, nil)
			resp, err := client.Get(f.url + "/v1/sys/monitor")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got := make([]byte, len(tt.first))
			if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != tt.first {
				t.Fatalf("first part = %q, %v", got, err)
			}
			close(next)
			rest, err := io.ReadAll(resp.Body)
			if err != nil || string(rest) != tt.second {
				t.Errorf("rest = %q, %v", rest, err)
			}
		})
	}
}

func TestInformational(t *testing.T) {
	t.Parallel()
	address, _ := rawUpstream(t, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	f := newFixture(t, address, nil)
	got := raw(t, f.url, "GET /v1/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n") || !strings.HasSuffix(got, "\r\n\r\nok") {
		t.Errorf("app saw %q", got)
	}
	if strings.Contains(got, "Date:") || strings.Contains(got, "Content-Type:") {
		t.Errorf("headers were added after a 1xx: %q", got)
	}
}

func TestNamespaceOfTheVaultBlock(t *testing.T) {
	t.Parallel()
	address := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%q", r.Header["X-Vault-Namespace"])
	})
	f := newFixture(t, address, func(c *relay.Config) { c.Namespace = "team" })
	for given, want := range map[string]string{"": `["team"]`, "other": `["other"]`} {
		req, _ := http.NewRequest("GET", f.url+"/v1/x", nil)
		if given != "" {
			req.Header.Set("X-Vault-Namespace", given)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(got) != want {
			t.Errorf("namespace %q arrived as %s, want %s", given, got, want)
		}
	}
}

func TestBasePath(t *testing.T) {
	t.Parallel()
	address, got := rawUpstream(t, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	f := newFixture(t, address+"/behind/lb/", nil)
	raw(t, f.url, "GET /v1/a%2Fb?x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if line, _, _ := strings.Cut(<-got, "\r\n"); line != "GET /behind/lb/v1/a%2Fb?x HTTP/1.1" {
		t.Errorf("vault saw %q", line)
	}
}

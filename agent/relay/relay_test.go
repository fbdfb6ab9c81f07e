package relay_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/vault"
)

const (
	noContent = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
	getX      = "GET /v1/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
)

func TestRequestsArriveAsTheyWere(t *testing.T) {
	t.Parallel()
	each(t, map[string]string{
		"escaped slash":      "GET /v1/kv/data/a%2Fb",
		"double slash":       "GET /v1/kv//data//x",
		"starts with two":    "GET //v1/kv/data/x",
		"trailing slash":     "GET /v1/kv/data/x/",
		"dots":               "GET /v1/kv/./a/../b/%2e%2e/c",
		"needless escapes":   "GET /v1/%6bv/data/%7Ex",
		"lower case escapes": "GET /v1/kv/a%2fb%c3%a4",
		"odd characters":     "GET /v1/kv/a\"<>^`{|}b",
		"query order":        "GET /v1/x?z=1&a=2&z=0",
		"unparsable query":   "GET /v1/x?a=%zz;b&&=c&+",
		"empty query":        "GET /v1/x?",
		"question marks":     "GET /v1/x?a?b=?c",
		"list":               "LIST /v1/kv/metadata/",
		"unknown method":     "RECOVER /v1/kv/x",
		"options for all":    "OPTIONS *",
	}, func(t *testing.T, line string) {
		address, got := rawUpstream(t, noContent)
		raw(t, newFixture(t, address).url, line+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		seen, _, _ := strings.Cut(<-got, "\r\n")
		equal(t, "vault saw", line+" HTTP/1.1", seen)
	})
}

func TestHeadersArriveAsTheyWere(t *testing.T) {
	t.Parallel()
	address, got := rawUpstream(t, noContent)
	f := newFixture(t, address)
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
	equal(t, "headers", sent, seen)
	equal(t, "calls", []string(nil), f.resolver.noted())
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
	each(t, tests, func(t *testing.T, answer string) {
		address, _ := rawUpstream(t, answer)
		f := newFixture(t, address)
		got := raw(t, f.url, getX)
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

func TestGzipStaysPacked(t *testing.T) {
	t.Parallel()
	packed := gzipped(`{"auth":null,"data":{"a":"b"}}`)
	f := newFixture(t, upstream(t, answer(200, packed, "Content-Encoding", "gzip")))
	resp, got := fetch(t, f.request(t, "GET /v1/x", nil, "Accept-Encoding", "gzip"))
	if got != packed || resp.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("body changed: %d bytes, want %d; %v", len(got), len(packed), resp.Header)
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
	f := newFixture(t, address)
	r := f.request(t, "POST /v1/x", io.MultiReader(strings.NewReader("up")))
	r.Trailer = http.Header{"X-Sum": {"1"}}
	resp, _ := fetch(t, r)
	equal(t, "request", http.Header{"X-Sum": {"1"}}, <-seen)
	equal(t, "answer", http.Header{"X-After": {"late"}, "X-Unannounced": {"later"}}, resp.Trailer)
}

// Each part must reach the app before the upstream sends the next, whatever
// its type: a relay that waits for more would never get it.
func TestStreams(t *testing.T) {
	t.Parallel()
	type test struct{ media, first, second string }
	tests := map[string]test{
		"plain":            {"text/plain", "one\n", "two\n"},
		"lines of json":    {"application/json", "{\"a\":1}\n", "{\"b\":2}\n"},
		"half of a json":   {"application/json", `{"data":{"a":`, `1}}`},
		"challenge-like":   {"application/json", `{"warnings":["auth"],"data":[`, `"mfa_requirement"]}`},
		"headers come now": {"application/json", "", `{}`},
	}
	each(t, tests, func(t *testing.T, tt test) {
		next := make(chan struct{})
		address := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", tt.media)
			_, _ = io.WriteString(w, tt.first)
			_ = http.NewResponseController(w).Flush()
			<-next
			_, _ = io.WriteString(w, tt.second)
		})
		f := newFixture(t, address)
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

func TestInformational(t *testing.T) {
	t.Parallel()
	address, _ := rawUpstream(t, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	f := newFixture(t, address)
	got := raw(t, f.url, getX)
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
	equal(t, "none given", `["team"]`, f.send(t, "GET /v1/x", "").Body)
	equal(t, "given", `["other"]`, f.send(t, "GET /v1/x", "", "X-Vault-Namespace", "other").Body)
}

func TestBasePath(t *testing.T) {
	t.Parallel()
	address, got := rawUpstream(t, noContent)
	f := newFixture(t, address+"/behind/lb/")
	raw(t, f.url, "GET /v1/a%2Fb?x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if line, _, _ := strings.Cut(<-got, "\r\n"); line != "GET /behind/lb/v1/a%2Fb?x HTTP/1.1" {
		t.Errorf("vault saw %q", line)
	}
}

func TestVaultIsGone(t *testing.T) {
	t.Parallel()
	const address = "127.0.0.1:1" // one that no other test is given
	f := newFixture(t, "http://"+address)
	resp, body := fetch(t, f.request(t, "GET /v1/x", nil))
	want := fmt.Sprintf(`{"errors":["stepup: vault \"corp\" cannot be reached: dial tcp %s: connect: connection refused"]}`+"\n", address)
	if resp.StatusCode != 502 || body != want || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("answer %d %s", resp.StatusCode, body)
	}
}

// A body that is not what HTTP wants is the app's fault: no 502, which blames
// Vault and makes clients try again.
func TestBrokenBody(t *testing.T) {
	t.Parallel()
	each(t, map[string]string{"ordinary path": "/v1/x", "path of a rule": "/v1/kv/data/prod/x"}, func(t *testing.T, path string) {
		f := newFixture(t, upstream(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
		got := raw(t, f.url, "POST "+path+" HTTP/1.1\r\nHost: x\r\nX-Vault-Token: t\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n")
		want := `{"errors":["stepup: the body of the request cannot be read: invalid byte in chunk length"]}`
		if !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, want) {
			t.Errorf("answer %s", got)
		}
		if f.log.String() != "" {
			t.Errorf("log: %s", f.log)
		}
	})
}

func TestVaultIsSlow(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	address := upstream(t, func(http.ResponseWriter, *http.Request) { <-release })
	f := newFixture(t, address, func(c *relay.Config) { c.Base.(*vault.Transport).HTTP().ResponseHeaderTimeout = 1 })
	equal(t, "answer", reply{504, `{"errors":["stepup: vault \"corp\" did not answer in time"]}` + "\n", ""}, f.send(t, "GET /v1/x", ""))
}

// echo is sys/events/subscribe in small: it upgrades and sends back what comes.
func echo(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vault-Token") != "t" || r.URL.RawQuery != "json=true" {
			t.Errorf("vault saw %s with %v", r.RequestURI, r.Header)
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Errorf("upgrade: %v", err)
			return
		}
		defer c.CloseNow()
		for {
			kind, data, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if err := c.Write(r.Context(), kind, append([]byte("echo "), data...)); err != nil {
				return
			}
		}
	}
}

// Upgrades pass, also from a standby, which points at the active node with ws.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	active := upstream(t, echo(t))
	standby := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "ws"+strings.TrimPrefix(active, "http")+r.RequestURI)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	each(t, map[string]string{"active node": active, "standby": standby}, func(t *testing.T, address string) {
		f := newFixture(t, address, prodRule)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c, resp, err := websocket.Dial(ctx, f.url+"/v1/sys/events/subscribe/kv?json=true", &websocket.DialOptions{
			HTTPHeader: http.Header{"X-Vault-Token": {"t"}},
		})
		if err != nil {
			t.Fatalf("%v, %+v", err, resp)
		}
		defer c.CloseNow()
		for _, text := range []string{"one", strings.Repeat("x", 20<<10)} {
			if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := c.Read(ctx); err != nil || string(got) != "echo "+text {
				t.Fatalf("read %d bytes, %v", len(got), err)
			}
		}
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// Clients in Java offer h2c with each request, and others TLS. Vault, which speaks HTTP/2, gets
// the request without that.
func TestUpgradeThatVaultDoesNotTake(t *testing.T) {
	t.Parallel()
	for _, offer := range []string{"h2c", "TLS/1.2", "h2c, TLS/1.0"} {
		t.Run(offer, func(t *testing.T) {
			t.Parallel()
			var seen calls
			vault := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				seen.note("%s %s %q%q", r.Proto, r.RequestURI, r.Header["Upgrade"], r.Header["Http2-Settings"])
			}))
			vault.EnableHTTP2 = true
			vault.StartTLS()
			t.Cleanup(vault.Close)
			f := newFixture(t, vault.URL, func(c *relay.Config) { c.Base = vault.Client().Transport })
			got := f.send(t, "GET /v1/x", "", "Connection", "Upgrade, HTTP2-Settings", "Upgrade", offer, "HTTP2-Settings", "AAMAAABkAAQAAP__")
			equal(t, "status", 200, got.Status)
			equal(t, "vault saw", []string{"HTTP/2.0 /v1/x [][]"}, seen.noted())
		})
	}
}

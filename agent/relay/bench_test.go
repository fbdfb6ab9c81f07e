package relay_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/relay"
)

// BenchmarkRelay compares the relay with a bare ReverseProxy over the same
// transport, in one run: rounds of both alternate, and relay/bare is the ratio
// of their throughputs. 1 means that the relay costs nothing.
func BenchmarkRelay(b *testing.B) {
	secret := `{"request_id":"8f6a","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":{"user":"app","password":"` +
		string(make64('x', 400)) + `"},"metadata":{"version":3}},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}` + "\n"
	for name, size := range map[string]int{"secret": len(secret), "list of 200 KiB": 200 << 10} {
		body := []byte(secret)
		if size > len(secret) {
			body = []byte(`{"data":{"keys":"` + string(make64('k', size)) + `"},"auth":null}`)
		}
		b.Run(name, func(b *testing.B) { compare(b, body) })
	}
}

func make64(c byte, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = c
	}
	return p
}

func compare(b *testing.B, body []byte) {
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}))
	defer vault.Close()
	address, err := url.Parse(vault.URL)
	if err != nil {
		b.Fatal(err)
	}
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.MaxIdleConnsPerHost, base.DisableCompression = 64, true
	defer base.CloseIdleConnections()
	bare := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(address) },
		Transport: base,
	})
	defer bare.Close()
	ours := httptest.NewServer(relay.New(relay.Config{
		Vault: "bench", Address: address, Base: base, LoginMFA: true, Log: slog.New(slog.DiscardHandler),
	}))
	defer ours.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()

	var bareTime, ourTime time.Duration
	for b.Loop() {
		bareTime += round(b, client, bare.URL)
		ourTime += round(b, client, ours.URL)
	}
	b.ReportMetric(float64(bareTime)/float64(ourTime), "relay/bare")
	b.ReportMetric(0, "ns/op")
}

// round is 8 apps with 25 requests each.
func round(b *testing.B, client *http.Client, url string) time.Duration {
	started := time.Now()
	var apps sync.WaitGroup
	for range 8 {
		apps.Go(func() {
			for range 25 {
				resp, err := client.Get(url + "/v1/kv/data/app")
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	apps.Wait()
	return time.Since(started)
}

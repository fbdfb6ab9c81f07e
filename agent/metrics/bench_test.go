package metrics

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"
)

// BenchmarkMeasure compares a relayed request that is counted with one that is
// not, in one run: rounds of both alternate, and counted/not is the ratio of
// their throughputs. 1 means that counting costs nothing.
func BenchmarkMeasure(b *testing.B) {
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"data":{"data":{"user":"app"}}}`)
	}))
	defer vault.Close()
	address, err := url.Parse(vault.URL)
	if err != nil {
		b.Fatal(err)
	}
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.MaxIdleConnsPerHost = 64
	defer base.CloseIdleConnections()
	m := New(fixed{})
	serve := func(name string) *httptest.Server {
		relay := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(address) }, Transport: Transport{base}}
		return httptest.NewServer(m.Measure(func() string { return name }, relay))
	}
	counted, not := serve("corp"), serve("")
	defer counted.Close()
	defer not.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	var countedTime, notTime time.Duration
	for b.Loop() {
		countedTime += round(b, client, counted.URL)
		notTime += round(b, client, not.URL)
	}
	b.ReportMetric(float64(notTime)/float64(countedTime), "counted/not")
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
				_ = resp.Body.Close()
			}
		})
	}
	apps.Wait()
	return time.Since(started)
}

// BenchmarkMeasureAlone is what counting one request costs, without the network.
func BenchmarkMeasureAlone(b *testing.B) {
	m := New(fixed{})
	answer := &http.Response{StatusCode: 200, Body: http.NoBody}
	transport := Transport{roundTrip(func(*http.Request) (*http.Response, error) { return answer, nil })}
	h := m.Measure(func() string { return "corp" }, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = transport.RoundTrip(r)
		w.WriteHeader(http.StatusOK)
	}))
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}

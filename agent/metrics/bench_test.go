package metrics

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkMeasure is what counting one request costs, without the network.
func BenchmarkMeasure(b *testing.B) {
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

package metrics

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// slow is a body whose every read takes a second.
type slow struct{ io.Reader }

func (s slow) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	return s.Reader.Read(p)
}

func slowVault(*http.Request) (*http.Response, error) {
	time.Sleep(3 * time.Second)
	return &http.Response{StatusCode: 200, Body: io.NopCloser(slow{strings.NewReader("{}")})}, nil
}

// Only the time of the agent itself counts, whatever else the request waits for.
func TestOverhead(t *testing.T) {
	t.Parallel()
	work := func() { time.Sleep(7 * time.Millisecond) }
	tests := []struct {
		name string
		h    http.HandlerFunc
		want time.Duration
	}{
		{"nothing but the agent", func(http.ResponseWriter, *http.Request) { work() }, 7 * time.Millisecond},
		{"vault", func(w http.ResponseWriter, r *http.Request) {
			work()
			resp, err := Transport{roundTrip(slowVault)}.RoundTrip(r)
			if err != nil {
				t.Error(err)
			}
			_, _ = io.ReadAll(resp.Body)
			work()
			w.WriteHeader(200)
			time.Sleep(time.Minute) // after the header it is not measured
		}, 14 * time.Millisecond},
		{"vault that fails", func(w http.ResponseWriter, r *http.Request) {
			_, err := Transport{roundTrip(func(*http.Request) (*http.Response, error) {
				time.Sleep(time.Second)
				return nil, errors.New("gone")
			})}.RoundTrip(r)
			if err == nil {
				t.Error("no error")
			}
			work()
			w.WriteHeader(502)
		}, 7 * time.Millisecond},
		{"a person", func(_ http.ResponseWriter, r *http.Request) {
			resume := Pause(r.Context())
			time.Sleep(20 * time.Second)
			resume()
			work()
		}, 7 * time.Millisecond},
		{"a person and vault at once", func(_ http.ResponseWriter, r *http.Request) {
			var both sync.WaitGroup
			both.Go(func() { _, _ = Transport{roundTrip(slowVault)}.RoundTrip(r) })
			both.Go(func() {
				time.Sleep(time.Second)
				defer Pause(r.Context())()
				time.Sleep(10 * time.Second)
			})
			both.Wait()
			work()
		}, 7 * time.Millisecond},
		{"the app's body", func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			work()
		}, 7 * time.Millisecond},
		{"a wait that goes on", func(w http.ResponseWriter, r *http.Request) {
			work()
			defer Pause(r.Context())()
			time.Sleep(time.Minute)
			w.WriteHeader(200)
		}, 7 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := httptest.NewRequest(http.MethodPost, "/v1/secret", slow{strings.NewReader("body")})
				f := newFixture(t)
				f.measure(r, tt.h)
				h := f.gather("stepup_request_overhead_seconds")[0].GetHistogram()
				if got := time.Duration(h.GetSampleSum()*1e9 + .5); h.GetSampleCount() != 1 || got != tt.want {
					t.Errorf("%d requests took %v, want %v", h.GetSampleCount(), got, tt.want)
				}
			})
		})
	}
}

func TestCode(t *testing.T) {
	t.Parallel()
	left, leave := context.WithCancel(t.Context())
	leave()
	tests := []struct {
		name string
		ctx  context.Context
		h    http.HandlerFunc
		want string
	}{
		{"nothing written", t.Context(), func(http.ResponseWriter, *http.Request) {}, "200"},
		{"body only", t.Context(), func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }, "200"},
		{"early hints", t.Context(), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(404) }, "404"},
		{"two headers", t.Context(), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403); w.WriteHeader(500) }, "403"},
		{"upgrade", t.Context(), func(w http.ResponseWriter, _ *http.Request) {
			_, _, _ = http.NewResponseController(w).Hijack() // a recorder has no connection
		}, "101"},
		{"the app left", left, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, "499"},
		{"aborted", left, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "499"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.measure(httptest.NewRequest(http.MethodGet, "/", nil).WithContext(tt.ctx), tt.h)
			all := f.gather("stepup_requests_total")
			if len(all) != 1 || all[0].GetLabel()[0].GetValue() != tt.want || all[0].GetCounter().GetValue() != 1 {
				t.Errorf("counted %v, want code %s", all, tt.want)
			}
		})
	}
}

// What is not measured is left as it is, down to the types that net/http looks for.
func TestNotMeasured(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var w http.ResponseWriter = httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	f.Measure(func() string { return "" }, http.HandlerFunc(func(w2 http.ResponseWriter, r2 *http.Request) {
		if w2 != w || r2 != r {
			t.Error("something was put around the request")
		}
		Pause(r2.Context())()
	})).ServeHTTP(w, r)
	if all := f.gather("stepup_requests_total"); all != nil {
		t.Errorf("counted %v", all)
	}
	resp, err := Transport{roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{Body: http.NoBody}, nil
	})}.RoundTrip(r)
	if err != nil || resp.Body != http.NoBody {
		t.Errorf("%v, %v", resp, err)
	}
}

// An upgraded connection is read and written by ReverseProxy, which asks its type.
func TestUpgradedBodyStays(t *testing.T) {
	t.Parallel()
	body := struct{ io.ReadWriteCloser }{}
	newFixture(t).measure(httptest.NewRequest(http.MethodGet, "/", nil), func(_ http.ResponseWriter, r *http.Request) {
		resp, err := Transport{roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusSwitchingProtocols, Body: body}, nil
		})}.RoundTrip(r)
		must(t, err)
		if _, ok := resp.Body.(io.ReadWriteCloser); !ok {
			t.Errorf("body is a %T", resp.Body)
		}
	})
}

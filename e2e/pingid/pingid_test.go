package pingid

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestStub(t *testing.T) {
	t.Parallel()
	s := New()
	t.Cleanup(s.Close)
	s.Give("ann", func(context.Context, string) Decision { return Decision{Approve: true} })
	s.Give("bob", func(context.Context, string) Decision { return Decision{Message: "not me"} })
	request := func(user string) string {
		return s.sign(map[string]any{"reqBody": map[string]any{"userName": user}})
	}
	forged := request("ann")
	forged = forged[:len(forged)-4] + "AAAA"
	tests := []struct {
		name, path, body string
		status           int
		id               float64
		message          string
	}{
		{"approved", authPath, request("ann"), 200, 200, ""},
		{"refused", authPath, request("bob"), 200, 20513, "not me"},
		{"no phone", authPath, request("eve"), 200, 20513, "user has no device"},
		{"wrong signature", authPath, forged, 403, 0, ""},
		{"not a token", authPath, "hello", 403, 0, ""},
		{"another call", "/other", request("ann"), 400, 0, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			resp, err := http.Post(s.server.URL+test.path, "application/json", strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != test.status {
				t.Fatalf("status %d, error %v, want %d", resp.StatusCode, err, test.status)
			}
			if test.status != http.StatusOK {
				return
			}
			var claims struct {
				Body struct {
					ID      float64 `json:"errorId"`
					Message string  `json:"errorMsg"`
				} `json:"responseBody"`
			}
			if err := s.verify(string(text), &claims); err != nil {
				t.Fatal(err)
			}
			if claims.Body.ID != test.id || claims.Body.Message != test.message {
				t.Errorf("got %v %q, want %v %q", claims.Body.ID, claims.Body.Message, test.id, test.message)
			}
		})
	}
	if n, open := s.Pushes("ann"), s.Open("ann"); n != 1 || open != 0 {
		t.Errorf("ann got %d pushes, %d still open; want 1 and 0", n, open)
	}
}

package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestExplainRoute(t *testing.T) {
	t.Parallel()
	const token = "hvs.topsecret"
	tests := map[string]struct {
		body   string
		err    error
		status int
		want   string
	}{
		"all lists are lists": {`{"path":"kv/x","token":"` + token + `"}`, nil, 200, `"rules":[{"name":"r","paths":[],"capabilities":[],`},
		"no path":             {`{"token":"` + token + `"}`, nil, 400, `"path"`},
		"not JSON":            {`{"path":"kv/x","token":"` + token, nil, 400, `"path"`},
		"no such vault":       {`{"path":"kv/x"}`, fmt.Errorf("x: %w", ErrNoVault), 404, ErrNoVault.Error()},
		"no path of Vault's":  {`{"path":"/"}`, ErrNoPath, 400, ErrNoPath.Error()},
		"broken":              {`{"path":"kv/x","token":"` + token + `"}`, errors.New("with " + token), 500, wordsInternal},
		"huge":                {`{"path":"` + strings.Repeat("x", maxBody) + `"}`, nil, 400, `"path"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := NewHandler(HandlerConfig{Explain: func(context.Context, Explain) (Explanation, error) {
				return Explanation{Rules: []RuleReason{{Rule: Rule{Name: "r"}}}}, tt.err
			}})
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/explain", strings.NewReader(tt.body)))
			body := strings.ReplaceAll(w.Body.String(), `\"`, `"`)
			if w.Code != tt.status || !strings.Contains(body, tt.want) || strings.Contains(body, token) {
				t.Errorf("%d %s", w.Code, body)
			}
		})
	}
}

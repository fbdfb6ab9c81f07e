package relay_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A denialObserver receives the paths of denials.
type denialObserver chan string

func (o denialObserver) Denied(q rule.Request, token secret.Secret) {
	o <- fmt.Sprintf("%s %s/%s %s", q.Operation, q.Namespace, q.Path, token.Reveal())
}

func TestDenialObserver(t *testing.T) {
	t.Parallel()
	refusal := func(body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, body)
		}
	}
	var packed strings.Builder
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, denied)
	_ = z.Close()
	tests := map[string]struct {
		vault  http.HandlerFunc
		target string
		header []string
		want   string // "" hears nothing
	}{
		"bare":                {vault: refusal(denied), want: "read ns1/kv/data/dev/a tok"},
		"packed":              {vault: refusal(packed.String(), "Content-Encoding", "gzip"), want: "read ns1/kv/data/dev/a tok"},
		"a list":              {vault: refusal(denied), target: "/v1/kv/metadata/dev?list=true", want: "list ns1/kv/metadata/dev/ tok"},
		"another reason":      {vault: refusal(`{"errors":["permission denied"]}`)},
		"a dead token":        {vault: refusal(`{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`)},
		"a long page":         {vault: refusal(denied + strings.Repeat(" ", 1000))},
		"not Vault's":         {vault: refusal("<html>")},
		"a rule's path":       {vault: refusal(denied), target: "/v1/kv/data/prod/a"},
		"no token":            {vault: refusal(denied), header: []string{"X-Vault-Token", ""}},
		"a factor of its own": {vault: refusal(denied), header: []string{"X-Vault-MFA", "totp:1"}},
		"allowed":             {vault: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, denied) }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			denials := make(denialObserver, 1)
			f := newFixture(t, upstream(t, tt.vault), func(c *relay.Config) {
				prodRule(t)(c)
				c.DenialObserver = denials
			})
			if tt.target == "" {
				tt.target = "/v1/kv/data/dev/a"
			}
			fetch(t, f.url+tt.target, "", append([]string{"X-Vault-Token", "tok", "X-Vault-Namespace", "ns1"}, tt.header...)...)
			if tt.want == "" {
				// Whatever would be denials of this one is denials before the end of the next.
				fetch(t, f.url+"/v1/sys/last", "", "X-Vault-Token", "last")
				select {
				case got := <-denials:
					if !strings.HasSuffix(got, " last") {
						t.Errorf("denials %q", got)
					}
				default:
				}
				return
			}
			select {
			case got := <-denials:
				if got != tt.want {
					t.Errorf("denials %q, want %q", got, tt.want)
				}
			case <-time.After(30 * time.Second):
				t.Error("denials nothing")
			}
		})
	}
}

// The answer is not held for the observer: the app reads it while it is still open.
func TestDenialObserverDelaysNothing(t *testing.T) {
	t.Parallel()
	denials, finish := make(denialObserver, 1), make(chan struct{})
	f := newFixture(t, upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, denied[:10])
		_ = http.NewResponseController(w).Flush()
		<-finish
		_, _ = io.WriteString(w, denied[10:])
	}), func(c *relay.Config) { c.DenialObserver = denials })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url+"/v1/kv/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", "tok")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	start := make([]byte, 10)
	if _, err := io.ReadFull(resp.Body, start); err != nil || string(start) != denied[:10] {
		t.Fatalf("%q %v", start, err)
	}
	select {
	case got := <-denials:
		t.Errorf("denials %q before the answer was over", got)
	default:
	}
	close(finish)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || string(rest) != denied[10:] {
		t.Errorf("%q %v", rest, err)
	}
	select {
	case <-denials:
	case <-time.After(30 * time.Second):
		t.Error("denials nothing")
	}
}

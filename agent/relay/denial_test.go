package relay_test

import (
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

// next waits for a denial.
func (o denialObserver) next(t *testing.T) string {
	t.Helper()
	select {
	case got := <-o:
		return got
	case <-time.After(30 * time.Second):
		t.Fatal("no denial was reported")
		return ""
	}
}

func TestDenialObserver(t *testing.T) {
	t.Parallel()
	type test struct {
		vault  http.HandlerFunc
		target string
		header []string
		want   string // "" hears nothing
	}
	tests := map[string]test{
		"bare":                {vault: answer(403, denied), want: "read ns1/kv/data/dev/a tok"},
		"packed":              {vault: answer(403, gzipped(denied), "Content-Encoding", "gzip"), want: "read ns1/kv/data/dev/a tok"},
		"a list":              {vault: answer(403, denied), target: "/v1/kv/metadata/dev?list=true", want: "list ns1/kv/metadata/dev/ tok"},
		"another reason":      {vault: answer(403, `{"errors":["permission denied"]}`)},
		"a dead token":        {vault: answer(403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`)},
		"a long page":         {vault: answer(403, denied+strings.Repeat(" ", 1000))},
		"not Vault's":         {vault: answer(403, "<html>")},
		"a rule's path":       {vault: answer(403, denied), target: "/v1/kv/data/prod/a"},
		"no token":            {vault: answer(403, denied), header: []string{"X-Vault-Token", "", "X-Vault-Namespace", "ns1"}},
		"a factor of its own": {vault: answer(403, denied), header: []string{"X-Vault-Token", "tok", "X-Vault-Namespace", "ns1", "X-Vault-MFA", "totp:1"}},
		"allowed":             {vault: answer(200, denied)},
	}
	each(t, tests, func(t *testing.T, tt test) {
		denials := make(denialObserver, 2)
		f := newFixture(t, upstream(t, tt.vault), prodRule, func(c *relay.Config) { c.DenialObserver = denials })
		if tt.target == "" {
			tt.target = "/v1/kv/data/dev/a"
		}
		if tt.header == nil {
			tt.header = []string{"X-Vault-Token", "tok", "X-Vault-Namespace", "ns1"}
		}
		f.send(t, "GET "+tt.target, "", tt.header...)
		if tt.want != "" {
			if got := denials.next(t); got != tt.want {
				t.Errorf("reported %q, want %q", got, tt.want)
			}
			return
		}
		// A report of this one would come before the end of the next.
		f.send(t, "GET /v1/sys/last", "", "X-Vault-Token", "last")
		select {
		case got := <-denials:
			if !strings.HasSuffix(got, " last") {
				t.Errorf("reported %q", got)
			}
		default:
		}
	})
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
	resp, err := client.Do(f.request(t, "GET /v1/kv/a", nil, "X-Vault-Token", "tok"))
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
		t.Errorf("reported %q before the answer was over", got)
	default:
	}
	close(finish)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || string(rest) != denied[10:] {
		t.Errorf("%q %v", rest, err)
	}
	denials.next(t)
}

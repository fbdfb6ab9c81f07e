package relay_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

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
	for name, address := range map[string]string{"active node": active, "standby": standby} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, address, prodRule(t))
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
}

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// docPassword is the password of each user in the documents.
const docPassword = "teatime"

// responder answers the prompts of the session's agents, over their control sockets,
// until ctx ends: the password of the documents, and codes of the last TOTP secret
// that the session has printed. It stays away while $DOCS/quiet is there. The
// channel is closed when it has ended.
func (s *docSession) responder(ctx context.Context, t *testing.T) <-chan struct{} {
	ended := make(chan struct{})
	known := map[string]*codes{}
	answered := map[string]bool{}
	go func() {
		defer close(ended)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			if _, err := os.Stat(filepath.Join(s.dir, "out", "quiet")); err == nil {
				continue
			}
			for _, socket := range s.sockets() {
				c := controlOf(socket)
				for _, q := range c.pending(ctx) {
					id := fmt.Sprint(socket, q.ID, q.Attempt)
					if answered[id] {
						continue
					}
					answered[id] = true
					text, ok := s.answer(q, known)
					if !ok {
						t.Errorf("nobody knows an answer to %+v", q)
						continue
					}
					c.answer(ctx, q.ID, text)
				}
				c.CloseIdleConnections()
			}
		}
	}()
	return ended
}

func (s *docSession) answer(q asked, known map[string]*codes) (string, bool) {
	switch q.Kind {
	case "password":
		return docPassword, true
	case "passcode":
		secret := s.secret()
		if secret == "" {
			return "", false
		}
		if known[secret] == nil {
			known[secret] = &codes{secret: secret}
		}
		return known[secret].next(), true
	}
	return "", false
}

// secret is the last one that the session has printed.
func (s *docSession) secret() (last string) {
	pattern := regexp.MustCompile(`otpauth://\S*[?&]secret=([A-Z2-7]+)`)
	for i := range s.steps {
		for _, m := range pattern.FindAllStringSubmatch(s.read(fmt.Sprintf("%d.out", i)), -1) {
			last = m[1]
		}
	}
	return last
}

// A control is the other end of a control socket.
type control struct{ *http.Client }

func controlOf(socket string) control {
	return control{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// pending is empty when there is no agent any more.
func (c control) pending(ctx context.Context) []asked {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/v1/prompts", nil)
	if err != nil {
		return nil
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var list struct {
		Prompts []asked `json:"prompts"`
	}
	if json.NewDecoder(resp.Body).Decode(&list) != nil {
		return nil
	}
	return list.Prompts
}

// answer says it; a question that is over by now needs none.
func (c control) answer(ctx context.Context, id, text string) {
	body, err := json.Marshal(map[string]string{"answer": text})
	if err != nil {
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/v1/prompts/"+id+"/answer", bytes.NewReader(body))
	if err != nil {
		return
	}
	req.Header.Set("Content-Type", "application/json")
	if resp, err := c.Do(req); err == nil {
		_ = resp.Body.Close()
	}
}

// startEnterprise puts the gate before a server, and what community Vault has not:
// the method corp_totp under sys/mfa, in which an operator enrols users.
func startEnterprise(t *testing.T, srv *server) string {
	t.Helper()
	g := newGate(t, srv)
	method := g.AddTOTP("corp_totp")
	mux := http.NewServeMux()
	mux.Handle("/", g)
	const path = "/v1/sys/mfa/method/totp/corp_totp"
	mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc(path+"/admin-generate", func(w http.ResponseWriter, r *http.Request) {
		var who struct {
			Entity string `json:"entity_id"`
		}
		if json.NewDecoder(r.Body).Decode(&who) != nil || who.Entity == "" {
			http.Error(w, `{"errors":["missing entity_id"]}`, http.StatusBadRequest)
			return
		}
		secret, err := method.Enroll(who.Entity)
		if err != nil {
			http.Error(w, `{"errors":["`+err.Error()+`"]}`, http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]string{
			"url": "otpauth://totp/Vault:" + who.Entity + "?issuer=Vault&period=30&secret=" + strings.TrimRight(secret, "="),
		}})
	})
	front := httptest.NewServer(mux)
	t.Cleanup(front.Close)
	return front.URL
}

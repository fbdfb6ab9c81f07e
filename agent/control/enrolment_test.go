package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/prompt"
)

const seedText = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"

func fullEnrolment() *prompt.Enrolment {
	return &prompt.Enrolment{Secret: seedText, Issuer: "Vault", Account: "0d6c2f0e", Algorithm: "SHA256", Digits: 8, Period: 60}
}

// TestEnrolment: a client that attaches gets every field of the secret.
func TestEnrolment(t *testing.T) {
	t.Parallel()
	want := fullEnrolment()
	wantFull(t, *want)
	r := fullRequest("abc234")
	r.Enrolment = want
	f := newFixture()
	events, err := f.client(t).Events(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range events {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == Watching {
			f.broker.events <- prompt.Event{Type: prompt.EventPrompt, Request: r}
			continue
		}
		wantSame(t, r, e.Request, nil)
		if text := fmt.Sprintf("%v %+v %s", e, e, e.Request.Enrolment); strings.Contains(text, seedText) {
			t.Errorf("it is printed: %s", text)
		}
		return
	}
	t.Error("the stream ended early")
}

// TestEnrolmentIsNotListed: no other answer of the socket has it, nor a stream that
// did not ask for it.
func TestEnrolmentIsNotListed(t *testing.T) {
	t.Parallel()
	r := fullRequest("abc234")
	r.Enrolment = fullEnrolment()
	f := newFixture()
	f.Prompts, f.Status = newFakeBroker(r), func(context.Context) Status { return Status{Prompts: []prompt.Request{r}} }
	for _, path := range []string{"/v1/prompts", "/v1/status"} {
		if w := raw(NewHandler(f.HandlerConfig), http.MethodGet, path, ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "abc234") || strings.Contains(w.Body.String(), seedText) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for _, query := range []string{"", "?attach=true", "?enrolment=false"} {
		f := newFixture()
		conn, err := dial(t.Context(), f.serve(t))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /v1/events"+query+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		f.broker.events <- prompt.Event{Type: prompt.EventPrompt, Request: r}
		close(f.broker.events)
		text, err := io.ReadAll(conn)
		if err != nil || !strings.Contains(string(text), "abc234") || strings.Contains(string(text), seedText) {
			t.Errorf("%q: %s, %v", query, text, err)
		}
	}
}

// The law: whatever a line says, it is read or refused, and what is read can be
// handed to a prompter.
func FuzzEventLine(f *testing.F) {
	line, err := json.Marshal(eventLine{Event: prompt.Event{Type: prompt.EventPrompt, Request: prompt.Request{ID: "a"}}, Enrolment: newEnrolment(fullEnrolment())})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add([]byte(`{"enrolment":{}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var l eventLine
		if json.Unmarshal(line, &l) != nil {
			return
		}
		if e := l.event(); e.Request.ID != "" && (e.Request.Enrolment == nil) != (l.Enrolment == nil) {
			t.Error("the enrolment is lost")
		}
	})
}

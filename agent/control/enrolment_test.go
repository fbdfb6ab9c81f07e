package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/prompt"
)

const seedText = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"

func fullEnrolment() *prompt.Enrolment {
	return &prompt.Enrolment{Secret: seedText, Issuer: "Vault", Account: "0d6c2f0e", Algorithm: "SHA256", Digits: 8, Period: 60}
}

// TestEnrolment: whoever attaches to draw the secret gets every field of it.
func TestEnrolment(t *testing.T) {
	t.Parallel()
	want := fullEnrolment()
	v := reflect.ValueOf(*want)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Fatalf("the test's enrolment has no %s", v.Type().Field(i).Name)
		}
	}
	r := fullRequest("abc234")
	r.Enrolment = want
	b := newFakeBroker()
	events, err := NewClient(agent(t, HandlerConfig{Prompts: b})).Events(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range events {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == Watching {
			b.events <- prompt.Event{Type: prompt.EventPrompt, Request: r}
			continue
		}
		if diff := cmp.Diff(r, e.Prompt.Request()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if text := fmt.Sprintf("%v %+v %s", e, e, e.Prompt.Enrolment); strings.Contains(text, seedText) {
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
	for _, path := range []string{"/v1/prompts", "/v1/status"} {
		status := Status{Prompts: []Prompt{NewPrompt(r)}}
		h := NewHandler(HandlerConfig{Prompts: newFakeBroker(r), Status: func(context.Context) Status { return status }})
		if w := raw(h, http.MethodGet, path, ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "abc234") || strings.Contains(w.Body.String(), seedText) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for _, query := range []string{"", "?attach=true", "?enrolment=false"} {
		b := newFakeBroker()
		conn, err := net.Dial("unix", agent(t, HandlerConfig{Prompts: b}))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /v1/events"+query+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		b.events <- prompt.Event{Type: prompt.EventPrompt, Request: r}
		close(b.events)
		text, err := io.ReadAll(conn)
		if err != nil || !strings.Contains(string(text), "abc234") || strings.Contains(string(text), seedText) {
			t.Errorf("%q: %s, %v", query, text, err)
		}
	}
}

// The law: whatever a line says, it is read or refused, and what is read can be
// handed to a prompter.
func FuzzEventLine(f *testing.F) {
	line, err := json.Marshal(eventLine{Event: Event{Type: prompt.EventPrompt, Prompt: &Prompt{ID: "a"}}, Enrolment: newEnrolment(fullEnrolment())})
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
		e := l.event()
		if e.Prompt == nil {
			return
		}
		if (e.Prompt.Request().Enrolment == nil) != (l.Enrolment == nil) {
			t.Error("the enrolment is lost")
		}
	})
}

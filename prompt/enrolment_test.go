package prompt_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

func TestSeedPrintsNothing(t *testing.T) {
	t.Parallel()
	r := prompttest.EnrolmentRequest()
	encoded, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("m", "seed", r.Enrolment.Secret, "enrolment", r.Enrolment, "request", r)
	for _, text := range []string{
		fmt.Sprint(r), fmt.Sprintf("%+v %#v %v", r, r, &r), fmt.Sprintf("%v %+v %s", r.Enrolment, *r.Enrolment, r.Enrolment),
		fmt.Sprintf("%x %q %s", r.Enrolment.Secret, r.Enrolment.Secret, r.Enrolment.Secret), string(encoded), logged.String(),
	} {
		if strings.Contains(strings.ToUpper(text), "JBSW") || strings.Contains(text, fmt.Sprintf("%x", "JBSW")) {
			t.Errorf("it is printed: %s", text)
		}
	}
}

// The secret goes to prompters and to watchers that attach. A watcher that only lists
// the prompts does not see it.
func TestEnrolmentIsNotListed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := waiting()
		f := newFixture(t, prompt.BrokerConfig{Timeout: time.Minute}, s)
		watching, attached := f.Watch(t.Context(), false), f.Watch(t.Context(), true)
		r := prompttest.EnrolmentRequest()
		r.Deadline = time.Now().Add(4 * time.Minute)
		answered := f.ask(t.Context(), r)
		synctest.Wait()
		late := f.Watch(t.Context(), false)
		if e := (<-watching).Request.Enrolment; e != nil {
			t.Errorf("a watcher gets %#v", *e)
		}
		if e := (<-late).Request.Enrolment; e != nil {
			t.Errorf("a later watcher gets %#v", *e)
		}
		if e := (<-attached).Request.Enrolment; e == nil || e.Secret != prompttest.Seed {
			t.Errorf("an attached watcher gets %#v", e)
		}
		if e := s.Requests()[0].Enrolment; e == nil || e.Secret != prompttest.Seed {
			t.Errorf("a prompter gets %#v", e)
		}
		pending := f.Pending()[0]
		if pending.Enrolment != nil || !pending.Deadline.Equal(r.Deadline) {
			t.Errorf("the list has %#v, until %s", pending.Enrolment, pending.Deadline)
		}
		time.Sleep(3 * time.Minute)
		if err := f.Answer(pending.ID, "123456"); err != nil {
			t.Error(err)
		}
		want(t, <-answered, "123456", nil)
		if e := <-attached; e.Type != prompt.EventAnswered || e.Request.Enrolment != nil {
			t.Errorf("the end is %s with %#v", e.Type, e.Request.Enrolment)
		}
	})
}

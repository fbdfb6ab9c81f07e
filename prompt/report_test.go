package prompt_test

import (
	"testing"
	"testing/synctest"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// The caller that asks for it learns which prompter got the answer or the denial.
func TestReportPrompter(t *testing.T) {
	t.Parallel()
	answer := func(f fixture) error { return f.Answer(f.Pending()[0].ID, "123456") }
	deny := func(f fixture) error { return f.Deny(f.Pending()[0].ID) }
	for name, tt := range map[string]struct {
		reply   prompttest.Reply
		control func(fixture) error // over the control socket
		want    string
	}{
		"a prompter's answer": {prompttest.Reply{Answer: "123456"}, nil, "script0"},
		"a prompter's denial": {prompttest.Reply{Err: prompt.ErrDenied}, nil, "script0"},
		"an answer elsewhere": {prompttest.Reply{Wait: true}, answer, prompt.Attached},
		"a denial elsewhere":  {prompttest.Reply{Wait: true}, deny, prompt.Attached},
		"no answer":           {prompttest.Reply{Err: prompt.ErrUnavailable}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, prompt.BrokerConfig{}, prompttest.NewScript(tt.reply))
				by := make(chan string, 1)
				done := f.ask(prompt.ReportPrompter(t.Context(), func(name string) { by <- name }), passcode())
				if tt.control != nil {
					if err := tt.control(f); err != nil {
						t.Fatal(err)
					}
				}
				<-done
				close(by)
				if got := <-by; got != tt.want {
					t.Errorf("prompter %q, want %q", got, tt.want)
				}
			})
		})
	}
}

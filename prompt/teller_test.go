package prompt_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/prompt"
)

// A teller puts a question up and takes no answer.
type teller struct{}

func (teller) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	return teller{}.PromptOrNotify(ctx, r, func() {})
}

func (teller) PromptOrNotify(ctx context.Context, _ prompt.Request, told func()) (string, error) {
	told()
	<-ctx.Done()
	return "", ctx.Err()
}

// A notification that says how to answer from a terminal keeps the question open
// as long as terminals may answer, and does not hold up the next one.
func TestTeller(t *testing.T) {
	t.Parallel()
	for name, attachable := range map[string]bool{"terminals may answer": true, "nobody may": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := prompt.NewBroker(prompt.BrokerConfig{
					Attachable: attachable, Prompters: []prompt.Named{{Name: "notification", Prompter: teller{}}},
				})
				defer b.Close()
				first := ask(t.Context(), b, passcode())
				second := ask(t.Context(), b, passcode())
				if !attachable {
					want(t, <-first, "", prompt.ErrUnavailable)
					want(t, <-second, "", prompt.ErrUnavailable)
					return
				}
				time.Sleep(30 * time.Second)
				open := b.Pending()
				if len(open) != 2 {
					t.Fatalf("%d prompts open", len(open))
				}
				for _, r := range open {
					if err := b.Answer(r.ID, "123456"); err != nil {
						t.Error(err)
					}
				}
				want(t, <-first, "123456", nil)
				want(t, <-second, "123456", nil)
			})
		})
	}
}

package prompt_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/prompt"
)

// A question that waited behind another one until its time was over says so; one that
// was shown, or listed for a person, does not.
func TestUnseen(t *testing.T) {
	t.Parallel()
	for name, look := range map[string]bool{"never shown": false, "listed": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := prompt.NewBroker(prompt.BrokerConfig{Prompters: []prompt.Named{{Name: "never", Prompter: unanswered{}}}})
				defer b.Close()
				shown := make(chan error, 1)
				go func() {
					_, err := b.Ask(t.Context(), prompt.Request{Kind: prompt.Confirm})
					shown <- err
				}()
				synctest.Wait()
				behind := make(chan error, 1)
				go func() {
					_, err := b.Ask(t.Context(), prompt.Request{Kind: prompt.Confirm, Deadline: time.Now().Add(10 * time.Second)})
					behind <- err
				}()
				synctest.Wait()
				if look {
					b.Pending()
				}
				if err := <-behind; !errors.Is(err, prompt.ErrTimeout) || errors.Is(err, prompt.ErrUnseen) == look {
					t.Errorf("behind: %v", err)
				}
				if err := <-shown; !errors.Is(err, prompt.ErrTimeout) || errors.Is(err, prompt.ErrUnseen) {
					t.Errorf("shown: %v", err)
				}
			})
		})
	}
}

// unanswered is a prompter that shows each question and gets no answer.
type unanswered struct{}

func (unanswered) Prompt(ctx context.Context, _ prompt.Request) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

package prompt_test

import (
	"errors"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/prompt"
)

// OnEnd is called before the caller of Ask learns how a prompt ended.
func TestEndIsToldFirst(t *testing.T) {
	t.Parallel()
	var told []string // written before the asker goes on, so it needs no lock
	b := prompt.NewBroker(prompt.BrokerConfig{Attachable: true, OnEnd: func(kind prompt.Kind, event string, open time.Duration) {
		told = append(told, string(kind)+" "+event)
		if open < 0 {
			t.Errorf("open for %v", open)
		}
	}})
	defer b.Close()
	events := b.Watch(t.Context(), true)
	go func() {
		for e := range events {
			if e.Type == prompt.EventPrompt {
				_ = b.Deny(e.Request.ID)
			}
		}
	}()
	for i := range 50 {
		if _, err := b.Ask(t.Context(), prompt.Request{Kind: prompt.Passcode}); !errors.Is(err, prompt.ErrDenied) {
			t.Fatal(err)
		}
		if len(told) != i+1 || told[i] != "passcode denied" {
			t.Fatalf("after %d prompts: %q", i+1, told)
		}
	}
	b.Tell(t.Context(), prompt.Request{Kind: prompt.Push}).Done("approved")
	if told[len(told)-1] != "push done" {
		t.Errorf("a push that was decided: %q", told[len(told)-1])
	}
}

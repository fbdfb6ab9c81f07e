package demo

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/vault-stepup/stepup/agent/mfa"
)

// A deviation is an answer of the tour that is not as its step describes. Its text is for
// --auto, whose scripted person makes no mistakes.
type deviation struct {
	error
	got appAnswer
}

// Unwrap returns what differs.
func (d *deviation) Unwrap() error { return d.error }

// anotherWay tells a person what their answers came to, where a step went another way than it
// describes. more reports that another step comes.
func anotherWay(err error, more bool) string {
	text := "That went another way than the step describes, which is fine"
	if d, ok := errors.AsType[*deviation](err); ok {
		text = came(d.got)
	}
	if more {
		return text + "; Enter goes on."
	}
	return text + "."
}

// came says what the person did, and what the program got for it.
func came(got appAnswer) string {
	refused := fmt.Sprintf(", so the program got Vault's %d", got.status)
	switch mfa.Outcome(got.outcome()) {
	case mfa.Rejected:
		return "You used your three tries" + refused
	case mfa.Denied:
		return "You said no" + refused
	case mfa.Timeout:
		return "The time was over before you answered" + refused
	case mfa.Cooldown:
		return "You were not asked again so soon after the question before" + refused
	case mfa.Unavailable:
		return "You could not be asked" + refused
	}
	if got.status == http.StatusOK {
		return "You answered in another way than the step describes, which is fine: the program got what it wanted"
	}
	return fmt.Sprintf("The program got %d %s, which this step does not expect", got.status, http.StatusText(got.status))
}

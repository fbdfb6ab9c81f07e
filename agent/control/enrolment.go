package control

import (
	"fmt"

	"github.com/vault-stepup/stepup/prompt"
)

// eventLine is an Event as it is sent. The secret that a question is about stands
// beside the prompt, in streams that asked for it only (enrolment=true), so that
// neither a list of prompts nor a program that logs events can have it.
type eventLine struct {
	Event
	Enrolment *enrolment `json:"enrolment,omitempty"`
}

// enrolment is prompt.Enrolment with a secret that JSON does not hide.
type enrolment struct {
	Secret    string `json:"secret"`
	Issuer    string `json:"issuer"`
	Account   string `json:"account"`
	Algorithm string `json:"algorithm"`
	Digits    int    `json:"digits"`
	Period    int    `json:"period"`
}

// Format implements fmt.Formatter, so that the secret is not printed.
func (e enrolment) Format(f fmt.State, verb rune) { prompt.Enrolment{Digits: e.Digits}.Format(f, verb) }

func newEnrolment(e *prompt.Enrolment) *enrolment {
	if e == nil {
		return nil
	}
	return &enrolment{
		Secret: e.Secret.Reveal(), Issuer: e.Issuer, Account: e.Account,
		Algorithm: e.Algorithm, Digits: e.Digits, Period: e.Period,
	}
}

// event is the line as the client's caller gets it.
func (l eventLine) event() Event {
	if e := l.Enrolment; e != nil && l.Prompt != nil {
		l.Prompt.Enrolment = &prompt.Enrolment{
			Secret: prompt.Seed(e.Secret), Issuer: e.Issuer, Account: e.Account,
			Algorithm: e.Algorithm, Digits: e.Digits, Period: e.Period,
		}
	}
	return l.Event
}

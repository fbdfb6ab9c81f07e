package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

type errorBody struct {
	Errors []string `json:"errors"`
}

type promptList struct {
	Prompts []prompt.Request `json:"prompts"`
}

type listenerList struct {
	Listeners []Listener `json:"listeners"`
}

type answerBody struct {
	Answer *string     `json:"answer"`
	Keep   prompt.Keep `json:"keep,omitempty"`
}

// obtainBody and explainBody are requests with the token that secret.Secret keeps out
// of JSON. Only a client makes them.
type (
	obtainBody struct {
		Obtain
		Token string `json:"token"`
	}
	explainBody struct {
		Explain
		Token string `json:"token"`
	}
)

var errBody = errors.New("not an answer")

// decodeAnswer reads {"answer":"…"}, with the choice in "keep" behind it. Other members are allowed and ignored. Text
// that is not what was typed (invalid UTF-8 and lone surrogates, which
// encoding/json replaces) is refused: a changed code is a wrong code, and costs
// one of few attempts. The error never says what was read.
func decodeAnswer(body []byte) (string, error) {
	if !utf8.Valid(body) {
		return "", errBody
	}
	var b answerBody
	if json.Unmarshal(body, &b) != nil || b.Answer == nil {
		return "", errBody
	}
	answer := prompt.WithKeep(*b.Answer, b.Keep)
	if strings.ContainsRune(answer, utf8.RuneError) {
		return "", errBody
	}
	return answer, nil
}

// eventLine is an event as it is sent. The secret that a question is about stands
// beside the prompt, in streams that asked for it only (enrolment=true), so that
// neither a list of prompts nor a program that logs events can have it.
type eventLine struct {
	prompt.Event
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
func (l eventLine) event() prompt.Event {
	if e := l.Enrolment; e != nil && l.Request.ID != "" {
		l.Request.Enrolment = &prompt.Enrolment{
			Secret: secret.Secret(e.Secret), Issuer: e.Issuer, Account: e.Account,
			Algorithm: e.Algorithm, Digits: e.Digits, Period: e.Period,
		}
	}
	return l.Event
}

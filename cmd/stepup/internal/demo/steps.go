package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/prompt"
)

// A step is one thing to see. Its words are in demo_words.go.
type step struct {
	words   stepWords
	replies []reply // of the scripted person
	run     func(ctx context.Context, d *demo) error
}

// steps is the tour.
func steps() []step {
	return []step{
		{words: wordsOrdinary(), run: ordinaryRead},
		{words: wordsGuarded(), replies: []reply{typeCode}, run: guardedRead},
		{words: wordsWrong(), replies: []reply{typeWrong, typeCode}, run: wrongCode},
		{words: wordsLogin(), replies: []reply{typeCode}, run: login},
		{words: wordsDenial(), replies: []reply{denyIt}, run: denial},
		{words: wordsPush(), replies: []reply{approveIt}, run: push},
	}
}

// ordinaryRead reads what no rule is about, on both listeners.
func ordinaryRead(ctx context.Context, d *demo) error {
	var errs []error
	for _, app := range d.stage.apps {
		got, err := d.call(ctx, app, get(pathOrdinary))
		if err != nil {
			return err
		}
		seen := d.stage.vault.tap.take()
		errs = append(errs, d.verify(got, expectation{
			status: http.StatusOK, secret: pathOrdinary, vault: []string{pathOrdinary + ": 200"}, seen: seen,
		}))
		if len(seen) == 1 {
			errs = append(errs, sameAnswer(got, seen[0]))
		}
	}
	return errors.Join(errs...)
}

// guarded is what Vault sees of a read that is stepped up with codes.
func guarded(path string, codes ...int) []string {
	seen := []string{path + ": 403", pathProbe + ": 200"}
	for _, status := range codes {
		seen = append(seen, fmt.Sprintf("%s with X-Vault-MFA: %d", path, status))
	}
	return seen
}

func guardedRead(ctx context.Context, d *demo) error {
	got, err := d.call(ctx, d.demoApp(), get(pathDB))
	if err != nil {
		return err
	}
	return d.verify(got, expectation{
		status: http.StatusOK, outcome: mfa.Approved, secret: pathDB,
		asked: []string{"prod passcode of corp_totp, attempt 1"},
		vault: guarded(pathDB, http.StatusOK),
	})
}

func wrongCode(ctx context.Context, d *demo) error {
	got, err := d.call(ctx, d.demoApp(), get(pathPayroll))
	if err != nil {
		return err
	}
	return d.verify(got, expectation{
		status: http.StatusOK, outcome: mfa.Approved, secret: pathPayroll,
		asked: []string{
			"prod-payroll passcode of payroll_totp, attempt 1",
			"prod-payroll passcode of payroll_totp, attempt 2",
		},
		vault: guarded(pathPayroll, http.StatusForbidden, http.StatusOK),
	})
}

// login logs in, and uses the token that came.
func login(ctx context.Context, d *demo) error {
	body := fmt.Sprintf(`{"password":%q}`, demoPassword)
	got, err := d.call(ctx, d.demoApp(), appCall{method: http.MethodPost, path: pathLogin, body: body, login: true})
	if err != nil {
		return err
	}
	errs := []error{d.verify(got, expectation{
		status: http.StatusOK, outcome: mfa.Approved,
		asked: []string{"login passcode of login_totp, attempt 1"},
		vault: []string{pathLogin + ": 200", pathValidate + ": 200"},
	})}
	auth := got.read().Auth
	switch {
	case auth.ClientToken == "":
		return errors.Join(append(errs, errors.New("the login brought no token"))...)
	case string(auth.Requirement) != "" && string(auth.Requirement) != "null":
		errs = append(errs, errors.New("the app was still asked for a second factor"))
	}
	own := get(pathSelf)
	own.token = auth.ClientToken
	if got, err = d.call(ctx, d.demoApp(), own); err != nil {
		return err
	}
	errs = append(errs, d.verify(got, expectation{status: http.StatusOK, vault: []string{pathSelf + ": 200"}}))
	return errors.Join(errs...)
}

// denial asks twice: the second time falls into the cool-down.
func denial(ctx context.Context, d *demo) error {
	var errs []error
	asked := []string{"prod-signing passcode of signing_totp, attempt 1"}
	for _, outcome := range []mfa.Outcome{mfa.Denied, mfa.Cooldown} {
		got, err := d.call(ctx, d.demoApp(), get(pathSigning))
		if err != nil {
			return err
		}
		errs = append(errs, d.verify(got, expectation{
			status: http.StatusForbidden, outcome: outcome, asked: asked, vault: guarded(pathSigning),
			errors: []string{"permission denied", "stepup: "},
		}))
		asked = nil
	}
	return errors.Join(errs...)
}

func push(ctx context.Context, d *demo) error {
	before := d.stage.vault.phone.Sent()
	got, err := d.call(ctx, d.demoApp(), get(pathDeploy))
	if err != nil {
		return err
	}
	err = d.verify(got, expectation{
		status: http.StatusOK, outcome: mfa.Approved, secret: pathDeploy,
		asked: []string{"prod-deploy push of corp_okta, attempt 1"},
		vault: []string{pathDeploy + ": 200"},
	})
	if sent := d.stage.vault.phone.Sent() - before; sent != 1 {
		err = errors.Join(err, fmt.Errorf("%d pushes were sent, not 1", sent))
	}
	return err
}

// An expectation is everything that a call must have come to.
type expectation struct {
	status  int
	outcome mfa.Outcome // of Stepup-Outcome; "" means no such header
	secret  string      // the path of the secret that came; "" for none
	errors  []string    // each is part of the answer's error at its place
	asked   []string    // what the person was asked, each in a line
	vault   []string    // what Vault got and answered, each in a line
	seen    []exchange  // what was seen, nil to look
}

// verify compares what the app received, what the person was asked and what
// Vault saw with what was to be.
func (d *demo) verify(got appAnswer, want expectation) error {
	if want.seen == nil {
		want.seen = d.stage.vault.tap.take()
	}
	var errs []error
	differ := func(what string, got, want any) {
		if got, want := fmt.Sprint(got), fmt.Sprint(want); got != want {
			errs = append(errs, fmt.Errorf("%s: got %s, want %s", what, orNothing(got), orNothing(want)))
		}
	}
	differ("status", got.status, want.status)
	differ("Stepup-Outcome", got.outcome(), want.outcome)
	differ("the person was asked", strings.Join(askedFor(d.recorder.take()), "; "), strings.Join(want.asked, "; "))
	var seen []string
	for _, e := range want.seen {
		seen = append(seen, e.String())
	}
	differ("Vault saw", strings.Join(seen, "; "), strings.Join(want.vault, "; "))
	body := got.read()
	if want.secret != "" && !equalJSON(body.Data.Data, demoSecrets()[want.secret]) {
		errs = append(errs, errors.New("the secret did not come"))
	}
	if len(body.Errors) != len(want.errors) {
		differ("errors", len(body.Errors), len(want.errors))
	} else if !slices.EqualFunc(body.Errors, want.errors, strings.Contains) {
		errs = append(errs, errors.New("the errors say something else"))
	}
	return errors.Join(errs...)
}

// askedFor says in a line each what was asked.
func askedFor(asked []prompt.Request) []string {
	var lines []string
	for _, r := range asked {
		rule := r.Rule
		if rule == "" {
			rule = "login"
		}
		lines = append(lines, fmt.Sprintf("%s %s of %s, attempt %d", rule, r.Kind, r.Method, r.Attempt))
	}
	return lines
}

// An appBody is what the demo looks at in an answer of Vault's.
type appBody struct {
	Errors []string
	Data   struct {
		Data     json.RawMessage // of a KV store
		Policies []string        // of a token
	}
	Auth struct {
		ClientToken string `json:"client_token"`
		Policies    []string
		Requirement json.RawMessage `json:"mfa_requirement"`
	}
}

// read is empty for what is not Vault's JSON.
func (a appAnswer) read() (b appBody) {
	_ = json.Unmarshal(a.body, &b)
	return b
}

func equalJSON(got json.RawMessage, want any) bool {
	text, err := json.Marshal(want)
	if err != nil {
		return false
	}
	var a, b any
	return json.Unmarshal(got, &a) == nil && json.Unmarshal(text, &b) == nil && fmt.Sprint(a) == fmt.Sprint(b)
}

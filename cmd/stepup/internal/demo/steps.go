package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/prompt"
)

// A step is one thing to see.
type step struct {
	title   string
	story   string  // what it is about, in sentences
	do      string  // what the person is to do; "" for nothing
	after   string  // what was seen, when all was as it should be
	replies []reply // of the scripted person
	calls   []call
}

// A call is a request of the program, and everything that it must come to.
type call struct {
	appCall
	status  int
	outcome mfa.Outcome // of Stepup-Outcome; "" means no such header
	errors  []string    // each is part of the answer's error at its place
	asked   []string    // what the person was asked, each in a line
	vault   []string    // what Vault got and answered, each in a line
	secret  bool        // the secret of the path comes
	same    bool        // the answer is Vault's own, byte for byte
	token   bool        // a token comes, and nothing more is asked for it
	pushes  int         // sent to the phone
}

// steps is the tour.
func steps() []step { return append(readSteps(), factorSteps()...) }

func readSteps() []step {
	ordinary := call{
		appCall: get(pathOrdinary), status: http.StatusOK, secret: true, same: true,
		vault: []string{pathOrdinary + ": 200"},
	}
	ordinaryUnix := ordinary
	ordinaryUnix.unix = true
	return []step{
		{
			title: "an ordinary read passes",
			story: "A program reads a secret through the agent. No rule is about this path, " +
				"so the agent hands request and answer on as they are.",
			after: "Those are Vault's own bytes, headers included, and nobody was asked.",
			calls: []call{ordinary, ordinaryUnix},
		},
		{
			title: "a guarded read asks you",
			story: "The policy for kv/data/prod/* names an MFA method: without a code Vault says 403. " +
				"The program knows nothing of that; the agent asks you, here, and sends the request again with your code.",
			do:      "type the code that your phone shows",
			after:   "The program waited a little and got its answer; it never saw the 403.",
			replies: []reply{typeCode},
			calls: []call{{
				appCall: get(pathDB), status: http.StatusOK, outcome: mfa.Approved, secret: true,
				asked: []string{"prod passcode of corp_totp, attempt 1"},
				vault: guarded(pathDB, http.StatusOK),
			}},
		},
		{
			title: "a wrong code",
			story: "Typing errors happen. Vault counts a code once and says only 403 to a wrong one; " +
				"you get up to three tries for a request, and a code is never sent twice.",
			do:      "type a wrong code first, such as 000000, then the right one",
			after:   "The program saw none of it, only the answer.",
			replies: []reply{typeWrong, typeCode},
			calls: []call{{
				appCall: get(pathPayroll), status: http.StatusOK, outcome: mfa.Approved, secret: true,
				asked: []string{"prod-payroll passcode of payroll_totp, attempt 1", "prod-payroll passcode of payroll_totp, attempt 2"},
				vault: guarded(pathPayroll, http.StatusForbidden, http.StatusOK),
			}},
		},
	}
}

func factorSteps() []step {
	denied := call{
		appCall: get(pathSigning), status: http.StatusForbidden, outcome: mfa.Denied, errors: []string{"permission denied", "stepup: "},
		asked: []string{"prod-signing passcode of signing_totp, attempt 1"},
		vault: guarded(pathSigning),
	}
	cooldown := denied
	cooldown.outcome, cooldown.asked = mfa.Cooldown, nil
	return []step{
		{
			title: "a login with MFA",
			story: "Vault holds this login until a second factor is there (Login MFA, in community Vault too). " +
				"The agent completes it; no rule is needed.",
			do:      "type the code that your phone shows",
			after:   "The program got its token as if no MFA had been asked; the token works.",
			replies: []reply{typeCode},
			calls: []call{{
				appCall: appCall{method: http.MethodPost, path: pathLogin, body: fmt.Sprintf(`{"password":%q}`, demoPassword), auth: noToken},
				status:  http.StatusOK, outcome: mfa.Approved, token: true,
				asked: []string{"login passcode of login_totp, attempt 1"},
				vault: []string{pathLogin + ": 200", pathValidate + ": 200"},
			}, {
				appCall: appCall{method: http.MethodGet, path: pathSelf, auth: newToken}, status: http.StatusOK,
				vault: []string{pathSelf + ": 200"},
			}},
		},
		{
			title: "you say no",
			story: "Something wants to use the signing key, and it is not you who started it. " +
				"The program then asks once more, as programs do.",
			do:      "press ctrl-c at the question",
			after:   "The program got Vault's own 403 with one more line that says why; its second try did not bother you.",
			replies: []reply{denyIt},
			calls:   []call{denied, cooldown},
		},
		{
			title: "a push to your phone",
			story: "For this path Vault pushes to a phone and lets the request wait. " +
				"There is nothing to type; the agent tells you why your phone buzzes.",
			do:      "press enter: in this demo that taps \"approve\" on the phone",
			after:   "One request, one push, one answer.",
			replies: []reply{approveIt},
			calls: []call{{
				appCall: get(pathDeploy), status: http.StatusOK, outcome: mfa.Approved, secret: true, pushes: 1,
				asked: []string{"prod-deploy push of corp_okta, attempt 1"},
				vault: []string{pathDeploy + ": 200"},
			}},
		},
	}
}

// guarded is what Vault sees of a read that is stepped up with codes.
func guarded(path string, codes ...int) []string {
	seen := []string{path + ": 403", pathProbe + ": 200"}
	for _, status := range codes {
		seen = append(seen, fmt.Sprintf("%s with X-Vault-MFA: %d", path, status))
	}
	return seen
}

// question is what the person goes on from.
func (s step) question(p *page) string {
	if s.do == "" {
		return "\n  enter to start: "
	}
	return "\n" + p.wrap("you: "+s.do, 2, 7) + "\n  enter to start: "
}

// runStep makes the calls of a step, and reports everything that is not as it should be.
func (d *demo) runStep(ctx context.Context, s step) error {
	var errs []error
	token := ""
	for _, c := range s.calls {
		pushes := d.sandbox.vault.phone.Sent()
		got, err := d.do(ctx, c.appCall, token)
		if err != nil {
			return err
		}
		if err := d.verify(c, got); err != nil {
			errs = append(errs, &deviation{got: got, error: err})
		}
		if sent := d.sandbox.vault.phone.Sent() - pushes; sent != c.pushes {
			errs = append(errs, fmt.Errorf("%d pushes were sent, not %d", sent, c.pushes))
		}
		if token = got.read().Auth.ClientToken; c.token && token == "" {
			errs = append(errs, errors.New("the login brought no token"))
			break
		}
	}
	return errors.Join(errs...)
}

// do shows a call, makes it, and shows the answer. token is the one that the call before
// has brought.
func (d *demo) do(ctx context.Context, c appCall, token string) (appAnswer, error) {
	a := d.sandbox.tcp
	if c.unix {
		a = d.sandbox.unix
	}
	switch c.auth {
	case ownToken:
		token = d.sandbox.vault.token
	case noToken:
		token = ""
	}
	if !d.auto {
		d.page.print(d.page.callLine(a, c))
	}
	before := d.prompts.count()
	got, err := a.do(ctx, c, token)
	d.prompts.wait()
	if err != nil {
		return got, fmt.Errorf("%s /v1/%s: %w", c.method, c.path, err)
	}
	if d.auto {
		d.page.detail(shortAnswer(a, c, got))
		return got, nil
	}
	if d.prompts.count() > before {
		d.page.print("\n") // the prompt stands between the call and its answer
	}
	d.page.print(d.page.longAnswer(got))
	return got, nil
}

// verify compares what the program received, what the person was asked and what
// Vault saw with what was to be.
func (d *demo) verify(want call, got appAnswer) error {
	var errs []error
	differ := func(what string, got, want any) {
		if got, want := fmt.Sprint(got), fmt.Sprint(want); got != want {
			errs = append(errs, fmt.Errorf("%s: got %s, want %s", what, orNothing(got), orNothing(want)))
		}
	}
	differ("status", got.status, want.status)
	differ("Stepup-Outcome", got.outcome(), want.outcome)
	differ("the person was asked", strings.Join(askedFor(d.prompts.take()), "; "), strings.Join(want.asked, "; "))
	seen := d.sandbox.vault.wire.take()
	var lines []string
	for _, e := range seen {
		lines = append(lines, e.String())
	}
	differ("Vault saw", strings.Join(lines, "; "), strings.Join(want.vault, "; "))
	body := got.read()
	if want.secret && !reflect.DeepEqual(body.Data.Data, demoSecrets()[want.path]) {
		errs = append(errs, errors.New("the secret did not come"))
	}
	if len(body.Errors) != len(want.errors) {
		differ("errors", len(body.Errors), len(want.errors))
	} else if !slices.EqualFunc(body.Errors, want.errors, strings.Contains) {
		errs = append(errs, errors.New("the errors say something else"))
	}
	if want.token && body.Auth.Requirement != nil {
		errs = append(errs, errors.New("the program was still asked for a second factor"))
	}
	if want.same && len(seen) == 1 {
		errs = append(errs, sameAnswer(got, seen[0]))
	}
	return errors.Join(errs...)
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
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
		Data     map[string]any // of a KV store
		Policies []string       // of a token
	}
	Auth struct {
		ClientToken string `json:"client_token"`
		Policies    []string
		Requirement *struct{} `json:"mfa_requirement"`
	}
}

// read is empty for what is not Vault's JSON.
func (a appAnswer) read() (b appBody) {
	_ = json.Unmarshal(a.body, &b)
	return b
}

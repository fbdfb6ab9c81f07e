package demo

// Every word of `stepup demo`; the rules are those of ui.go. No line is wider
// than 78 columns.

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/prompt"
)

const (
	textDemo     = "a tour, with a Vault of its own"
	textDemoAuto = "play the person too, and check every step"
	textDemoLong = `Runs a development Vault and an agent in one process, on loopback addresses,
and walks through what stepup does in six steps. You answer the prompts; the
demo shows the codes that your phone would show, and in the end leaves the
agent to you until ctrl-c. Nothing has to be configured, no network is used,
and nothing is left behind.

With --auto it needs no terminal: it answers its own prompts, checks at every
step what the app received, what was asked and what Vault saw, and exits with 0
only if all of it is as it should be.`

	textDemoOver   = "\nthe demo is over; its Vault, its agent and its folder are gone\n"
	textDemoPassed = "\nall steps did what they say\n"
	textDemoIdle   = "\n  enter shows your codes, ctrl-c ends the demo\n"
	hintDemoFolder = "set TMPDIR to a folder with a short path in which files may be made"
	hintDemoAuto   = "`stepup demo --auto` needs none: it answers its own prompts"

	wordsUnixSocket = "on the unix socket"
)

// Errors of a demo that cannot ask.
var (
	errDemoTerminal = errors.New("the demo asks you on a terminal")
	errDemoOutput   = errors.New("standard output is none")
	// errDemoInterrupted: with --auto, because not every step was checked.
	errDemoInterrupted = errors.New("the demo was interrupted")
)

// stepWords is what is said about a step.
type stepWords struct {
	title string
	story string // what it is about, in sentences
	do    string // what the person is to do; "" for nothing
	after string // what was seen, when all was as it should be
}

func wordsOrdinary() stepWords {
	return stepWords{
		title: "an ordinary read passes",
		story: "an app reads a secret through the agent. no rule is about this path, " +
			"so the agent hands request and answer on as they are",
		after: "those are Vault's own bytes, headers included, and nobody was asked",
	}
}

func wordsGuarded() stepWords {
	return stepWords{
		title: "a guarded read asks you",
		story: "the policy for kv/data/prod/* names an MFA method: without a code Vault says 403. " +
			"the app knows nothing of that; the agent asks you, here, and sends the request again with your code",
		do:    "type the code that your phone shows",
		after: "the app waited a little and got its answer; it never saw the 403",
	}
}

func wordsWrong() stepWords {
	return stepWords{
		title: "a wrong code",
		story: "typing errors happen. Vault counts a code once and says only 403 to a wrong one; " +
			"you get up to three tries for a request, and a code is never sent twice",
		do:    "type a wrong code first, such as 000000, then the right one",
		after: "the app saw none of it, only the answer",
	}
}

func wordsLogin() stepWords {
	return stepWords{
		title: "a login with MFA",
		story: "Vault holds this login until a second factor is there (Login MFA, in community Vault too). " +
			"the agent completes it; no rule is needed",
		do:    "type the code that your phone shows",
		after: "the app got its token as if no MFA had been asked; the token works",
	}
}

func wordsDenial() stepWords {
	return stepWords{
		title: "you say no",
		story: "something wants to use the signing key, and it is not you who started it. " +
			"the app then asks once more, as programs do",
		do:    "press ctrl-c at the prompt",
		after: "the app got Vault's own 403 with one more line that says why; its second try did not bother you",
	}
}

func wordsPush() stepWords {
	return stepWords{
		title: "a push to your phone",
		story: "for this path Vault pushes to a phone and lets the request wait. " +
			"there is nothing to type; the agent tells you why your phone buzzes",
		do:    "press enter: in this demo that taps \"approve\" on the phone",
		after: "one request, one push, one answer",
	}
}

// before is what is said to a person ahead of a step.
func (w stepWords) before() string { return wrap(w.story, 2, 2) }

// question is what they go on from.
func (w stepWords) question() string {
	if w.do == "" {
		return "\n  enter to start: "
	}
	return "\n" + wrap("you: "+w.do, 2, 7) + "\n  enter to start: "
}

// ending is what is said after a step that was as it should be.
func (w stepWords) ending(short bool) string {
	if short {
		return wrap(w.after, 5, 7)
	}
	return "\n" + wrap(w.after, 2, 2)
}

// stepFailed is the error of a step that was not as it should be, in one line.
func stepFailed(n int, title string, err error) error {
	return fmt.Errorf("step %d, %s: %s", n, title, strings.ReplaceAll(err.Error(), "\n", "; "))
}

// otherwise is said when a person did something else than the step is about.
func otherwise(err error) string {
	return "\n" + wrap("that went another way than the step describes, which is fine:", 2, 2) +
		indent(err.Error(), 4)
}

func (p *page) opening(auto bool) string {
	if auto {
		return p.bold("stepup demo: the tour, with a scripted person\n")
	}
	return p.bold("stepup demo: six steps, about two minutes\n") + "\n" +
		wrap("a development Vault and an agent run in this process, on loopback addresses. "+
			"nothing is configured, no network is used, nothing is left behind", 2, 2) +
		wrap("you are "+demoUser+"; the demo shows what your phone would show", 2, 2) +
		wrap("ctrl-c at a prompt denies it, anywhere else it ends the demo", 2, 2)
}

func (p *page) title(n, of int, title string) string {
	return "\n" + p.bold(fmt.Sprintf("%d/%d  %s", n, of, title)) + "\n"
}

// phoneLine is an authenticator's line; an empty code means that all were used.
func (p *page) phoneLine(method, code string, current bool) string {
	note := fmt.Sprintf("a new one in %d s", seconds(untilNext()))
	switch {
	case code == "":
		return fmt.Sprintf("  phone  %-13s all used, %s\n", method, note)
	case !current:
		note = "the one before was used"
	}
	return fmt.Sprintf("  phone  %-13s %s   %s\n", method, p.bold(code[:3]+" "+code[3:]), note)
}

func countdown(method string) string {
	return fmt.Sprintf("\r  phone  %-13s every code was used; a new one in %2d s ", method, seconds(untilNext()))
}

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

func phoneQuestion() string { return "  phone  approve? enter taps yes: " }

func callLine(a demoApp, c appCall) string {
	line := fmt.Sprintf("app    %s %s/v1/%s", c.method, a.url, c.path)
	if a.note != "" {
		line += "  " + a.note
	}
	return "\n" + wrap(line, 2, 9)
}

// longAnswer shows what the app received.
func longAnswer(got appAnswer) string {
	var b strings.Builder
	b.WriteString(wrap("app    got "+statusLine(got), 2, 9))
	body := got.read()
	for _, e := range body.Errors {
		b.WriteString(wrap("error: "+strings.Join(strings.Fields(e), " "), 9, 11))
	}
	if len(body.Data.Data) > 0 {
		b.WriteString(wrap("data: "+compact(body.Data.Data), 9, 11))
	}
	if len(body.Data.Policies) > 0 {
		b.WriteString(wrap("policies: "+strings.Join(body.Data.Policies, ", "), 9, 11))
	}
	if t := body.Auth.ClientToken; t != "" {
		// Of a Vault that ends with the demo, and only its beginning.
		b.WriteString(wrap("token: "+t[:min(len(t), 10)]+"…, policies "+strings.Join(body.Auth.Policies, ", "), 9, 11))
	}
	return b.String()
}

func shortAnswer(a demoApp, c appCall, got appAnswer) string {
	line := fmt.Sprintf("%s /v1/%s", c.method, c.path)
	if a.note != "" {
		line += " " + a.note
	}
	line += ": " + statusLine(got)
	if errs := got.read().Errors; len(errs) > 1 {
		line += ", " + fmt.Sprintf("%q", errs[len(errs)-1])
	}
	return line
}

func statusLine(got appAnswer) string {
	line := fmt.Sprintf("%d %s", got.status, http.StatusText(got.status))
	if o := got.outcome(); o != "" {
		line += ", Stepup-Outcome: " + o
	}
	return line
}

// scriptLine says what the scripted person was asked and does.
func scriptLine(r prompt.Request, does reply) string {
	did := map[reply]string{
		typeCode: "types the code", typeWrong: "types a wrong one", denyIt: "denies it", approveIt: "approves it on the phone",
	}[does]
	line := fmt.Sprintf("asked for a %s of %s", r.Kind, r.Method)
	if r.Attempt > 1 {
		line += fmt.Sprintf(" (attempt %d of %d: %s)", r.Attempt, r.Attempts, r.Message)
	}
	return line + "; " + did
}

// playground says what the person can do now.
func (p *page) playground(st *stage, vaultCLI bool) string {
	assign := "export %s=%s"
	if runtime.GOOS == "windows" {
		assign = "$env:%s = %q"
	}
	set := func(name, value string) string { return "    " + fmt.Sprintf(assign, name, value) + "\n" }
	read, plain, login := curls()
	if vaultCLI {
		read, plain = "vault kv get kv/prod/db", "vault kv get kv/app/config"
		login = "vault login -no-store -method=userpass username=" + demoUser + " password=" + demoPassword
	}
	return "\n" + p.bold("that was the tour; the agent stays for you") + "\n" +
		wrap("in another terminal:", 2, 2) +
		set("VAULT_ADDR", st.addr) + set("VAULT_TOKEN", st.vault.token) + "\n" +
		wrap("then try, and answer here:", 2, 2) +
		"    " + plain + "\n    " + read + "\n    " + login + "\n\n" +
		wrap("and look at the agent itself:", 2, 2) +
		set("STEPUP_RUNTIME_DIR", st.dir) + "    stepup status\n"
}

// curls are the three commands for a machine without the program vault.
func curls() (read, plain, login string) {
	const curl = "curl -H \"X-Vault-Token: $VAULT_TOKEN\" $VAULT_ADDR/v1/"
	return curl + pathDB, curl + pathOrdinary,
		"curl -d '{\"password\":\"" + demoPassword + "\"}' $VAULT_ADDR/v1/" + pathLogin
}

func compact(raw json.RawMessage) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return string(raw)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return string(raw)
	}
	return string(text)
}

// demoWidth is how wide a line may be.
const demoWidth = 78

// wrap breaks text between words; the first line is indented by one number of
// blanks, the others by another.
func wrap(text string, first, rest int) string {
	var b strings.Builder
	line := strings.Repeat(" ", first)
	for i, word := range strings.SplitAfter(text, " ") {
		if i > 0 && len([]rune(line))+len([]rune(strings.TrimRight(word, " "))) > demoWidth {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = strings.Repeat(" ", rest)
		}
		line += word
	}
	return b.String() + strings.TrimRight(line, " ") + "\n"
}

// indent puts blanks before each line.
func indent(text string, by int) string {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		b.WriteString(wrap(line, by, by+2))
	}
	return b.String()
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

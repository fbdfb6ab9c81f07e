package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// A page is where the story is written: standard output. No line is wider than width.
type page struct {
	terminal bool
	bolds    bool

	mu  sync.Mutex // keeps what is written together
	out io.Writer
}

func newPage(c *cli.Console) *page {
	p := &page{out: c.Out}
	if f, ok := c.Out.(*os.File); ok {
		p.terminal = terminal.IsTerminal(f)
	}
	term := c.Env("TERM")
	p.bolds = p.terminal && c.Env("NO_COLOR") == "" && term != "" && term != "dumb"
	return p
}

func (p *page) print(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(p.out, text) // fails without a reader, and then there is nothing to do
}

// detail writes a line below a step's title.
func (p *page) detail(line string) { p.print(p.wrap(line, 5, 7)) }

// bold makes text stand out where the terminal can.
func (p *page) bold(text string) string {
	if !p.bolds {
		return text
	}
	body := strings.TrimRight(text, "\n")
	return "\x1b[1m" + body + "\x1b[0m" + text[len(body):]
}

func (p *page) opening(auto bool) string {
	if auto {
		return p.bold("stepup demo: the tour, with a scripted person\n")
	}
	return p.bold("stepup demo: six steps, about two minutes\n") + "\n" +
		p.wrap("A development Vault and an agent run in this process, on loopback addresses. "+
			"Nothing is configured, no network is used, nothing is left behind.", 2, 2) +
		p.wrap("You are "+demoUser+"; the demo shows what your phone would show.", 2, 2) +
		p.wrap("At a question, ctrl-c denies it; anywhere else it ends the demo.", 2, 2)
}

func (p *page) title(n, of int, title string) string {
	return "\n" + p.bold(fmt.Sprintf("%d/%d  %s", n, of, title)) + "\n"
}

// phoneLine is an authenticator's line; an empty code means that all were used.
func (p *page) phoneLine(method, code string, current bool) string {
	note := fmt.Sprintf("a new one in %d s", untilNext())
	switch {
	case code == "":
		return fmt.Sprintf("  phone    %-13s all used, %s\n", method, note)
	case !current:
		note = "the one before was used"
	}
	return fmt.Sprintf("  phone    %-13s %s   %s\n", method, p.bold(code[:3]+" "+code[3:]), note)
}

func countdown(method string) string {
	return fmt.Sprintf("\r  phone    %-13s every code was used; a new one in %2d s ", method, untilNext())
}

// untilNext is for how many seconds the codes that phones show now will stay.
func untilNext() int {
	const period = 30 * time.Second
	left := period - time.Duration(time.Now().UnixNano())%period
	return int((left + time.Second - 1) / time.Second)
}

func (p *page) callLine(a demoApp, c appCall) string {
	line := fmt.Sprintf("program  %s %s/v1/%s", c.method, a.url, c.path)
	if a.note != "" {
		line += "  " + a.note
	}
	return "\n" + p.wrap(line, 2, 11)
}

// longAnswer shows what the program received.
func (p *page) longAnswer(got appAnswer) string {
	var b strings.Builder
	b.WriteString(p.wrap("program  got "+statusLine(got), 2, 11))
	body := got.read()
	for _, e := range body.Errors {
		b.WriteString(p.wrap("error: "+strings.Join(strings.Fields(e), " "), 11, 13))
	}
	if len(body.Data.Data) > 0 {
		data, _ := json.Marshal(body.Data.Data) // which was JSON
		b.WriteString(p.wrap("data: "+string(data), 11, 13))
	}
	if len(body.Data.Policies) > 0 {
		b.WriteString(p.wrap("policies: "+strings.Join(body.Data.Policies, ", "), 11, 13))
	}
	if t := body.Auth.ClientToken; t != "" {
		// Of a Vault that ends with the demo, and only its beginning.
		b.WriteString(p.wrap("token: "+t[:min(len(t), 10)]+"…, policies "+strings.Join(body.Auth.Policies, ", "), 11, 13))
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
	line := fmt.Sprintf("asked for a %s of %s", r.Kind, r.Method)
	if r.Attempt > 1 {
		line += fmt.Sprintf(" (attempt %d of %d: %s)", r.Attempt, r.Attempts, r.Message)
	}
	return line + "; " + string(does)
}

// playground says what the person can do now. self is the command that is this program.
func (p *page) playground(s *sandbox, vaultCLI bool, self string) string {
	assign := "export %s=%s"
	if runtime.GOOS == "windows" {
		assign = "$env:%s = %q"
	}
	set := func(name, value string) string { return "    " + fmt.Sprintf(assign, name, value) + "\n" }
	const curl = "curl -H \"X-Vault-Token: $VAULT_TOKEN\" $VAULT_ADDR/v1/"
	read, plain := curl+pathDB, curl+pathOrdinary
	login := "curl -d '{\"password\":\"" + demoPassword + "\"}' $VAULT_ADDR/v1/" + pathLogin
	if vaultCLI {
		read, plain = "vault kv get kv/prod/db", "vault kv get kv/app/config"
		login = "vault login -no-store -method=userpass username=" + demoUser + " password=" + demoPassword
	}
	return "\n" + p.bold("that was the tour; the agent stays for you") + "\n" +
		p.wrap("in another terminal:", 2, 2) +
		set("VAULT_ADDR", s.tcp.url) + set("VAULT_TOKEN", s.vault.token) + "\n" +
		p.wrap("then try, and answer here:", 2, 2) +
		"    " + plain + "\n    " + read + "\n    " + login + "\n\n" +
		p.wrap("and look at the agent itself:", 2, 2) +
		set("STEPUP_RUNTIME_DIR", s.dir) + "    " + self + " status\n"
}

// Widths of the story, in columns: as it was written for, and the bounds on a terminal.
const (
	usualWidth  = 78
	leastWidth  = 38
	widestWidth = 100
)

// width is that of the window at this moment.
func (p *page) width() int {
	f, ok := p.out.(*os.File)
	if !ok || !p.terminal {
		return usualWidth
	}
	columns := terminal.Columns(f)
	if columns == 0 {
		return usualWidth
	}
	return min(max(columns-2, leastWidth), widestWidth)
}

// wrap breaks text between words; the first line is indented by one number of
// blanks, the others by another.
func (p *page) wrap(text string, first, rest int) string {
	width := p.width()
	var b strings.Builder
	line := strings.Repeat(" ", first)
	for i, word := range strings.SplitAfter(text, " ") {
		if i > 0 && len([]rune(line))+len([]rune(strings.TrimRight(word, " "))) > width {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = strings.Repeat(" ", rest)
		}
		line += word
	}
	return b.String() + strings.TrimRight(line, " ") + "\n"
}

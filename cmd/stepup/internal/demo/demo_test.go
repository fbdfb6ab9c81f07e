package demo

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// A sabotage is a Vault that does not do what a step is about.
type sabotage func(v *devvault.Server) http.Handler

// unguarded forgets the second factor of a path.
func unguarded(path string) sabotage {
	return change(path, false, func(v *devvault.Server, r *http.Request) { r.Header.Set("X-Vault-Token", v.RootToken()) })
}

// change makes another request of one for a path, or of one that comes with a code.
func change(path string, stepped bool, by func(*devvault.Server, *http.Request)) sabotage {
	return func(v *devvault.Server) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/"+path && (!stepped || r.Header.Get("X-Vault-MFA") != "") {
				by(v, r)
			}
			v.ServeHTTP(w, r)
		})
	}
}

// instead answers a path with something else.
func instead(path string, status int, body string) sabotage {
	return func(v *devvault.Server) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/"+path {
				v.ServeHTTP(w, r)
				return
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		})
	}
}

// A fixture is a demo that plays the person too.
type fixture struct {
	*demo
	out, errs bytes.Buffer
}

func newFixture(between sabotage) *fixture {
	f := &fixture{}
	noTTY := func() (terminal.TTY, error) { return nil, prompt.ErrUnavailable }
	c := &cli.Console{In: strings.NewReader(""), Out: &f.out, Err: &f.errs, Env: func(string) string { return "" }}
	f.demo = &demo{Console: c, auto: true, openTTY: noTTY, between: between}
	return f
}

// leavesNothing wants the folder of the demo gone.
func (f *fixture) leavesNothing(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(f.sandbox.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder %s is still there: %v", f.sandbox.dir, err)
	}
}

// TestDemoNotices: --auto fails at the step that does not do what it says, and
// names it.
func TestDemoNotices(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		between sabotage
		step    string // of the error
		why     string
	}{
		{"vault is broken", instead(pathOrdinary, http.StatusInternalServerError, `{}`), "step 1", "status: got 500, want 200"},
		{"another secret", instead(pathOrdinary, http.StatusOK, `{"data":{"data":{"greeting":"moo"}}}`), "step 1", "the secret did not come"},
		{"no guard", unguarded(pathDB), "step 2", "the person was asked: got nothing"},
		{"the secret of another path", change(pathDB, true, func(_ *devvault.Server, r *http.Request) {
			r.URL.Path = "/v1/" + pathOrdinary
		}), "step 2", "the secret did not come"},
		{"no code is right", change(pathDB, true, func(_ *devvault.Server, r *http.Request) {
			r.Header.Set("X-Vault-MFA", methodCorp+":1")
		}), "step 2", "Stepup-Outcome: got denied, want approved"},
		{"every code is right", change(pathPayroll, true, func(v *devvault.Server, r *http.Request) {
			r.Header.Set("X-Vault-Token", v.RootToken())
		}), "step 3", "the person was asked"},
		{"no login MFA", instead(pathLogin, http.StatusOK, `{"auth":{"client_token":"t"}}`), "step 4", "the person was asked: got nothing"},
		{"a login without a token", instead(pathValidate, http.StatusOK, `{"auth":{}}`), "step 4", "the login brought no token"},
		{"a token that is no good", instead(pathValidate, http.StatusOK, `{"auth":{"client_token":"t"}}`), "step 4", "status: got 403, want 200"},
		{"nothing to deny", unguarded(pathSigning), "step 5", "status: got 200, want 403"},
		{"no push", unguarded(pathDeploy), "step 6", "0 pushes were sent, not 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(c.between)
			err := f.main(t.Context())
			if err == nil {
				t.Fatalf("the demo did not notice\n%s", &f.out)
			}
			if code := f.Report(err); code != cli.ExitFailed {
				t.Errorf("exit code %d, want %d", code, cli.ExitFailed)
			}
			said := f.errs.String()
			if !strings.HasPrefix(said, "error: "+c.step+", ") || !strings.Contains(said, c.why) || strings.Count(said, "\n") != 1 {
				t.Errorf("it said %q, want %s and %q", said, c.step, c.why)
			}
			if strings.Contains(f.out.String(), textPassed) {
				t.Errorf("it said that all is well\n%s", &f.out)
			}
			f.leavesNothing(t)
		})
	}
}

// TestDemoInterrupted: a demo that could not finish has proved nothing.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	f := newFixture(change(pathPayroll, false, func(*devvault.Server, *http.Request) { cancel() }))
	if err := f.main(ctx); !errors.Is(err, errInterrupted) {
		t.Errorf("main = %v, want %v", err, errInterrupted)
	}
	f.leavesNothing(t)
}

func TestSameAnswer(t *testing.T) {
	t.Parallel()
	header := func(pairs ...string) http.Header {
		h := http.Header{"Content-Type": {"application/json"}}
		for i := 0; i < len(pairs); i += 2 {
			h.Add(pairs[i], pairs[i+1])
		}
		return h
	}
	sent := exchange{status: 200, header: header("X-Vault-Index", "a", "X-Vault-Index", "b"), body: []byte(`{ "a":1}`)}
	for _, c := range []struct {
		name string
		got  appAnswer
		want string
	}{
		{"the same", appAnswer{200, header("X-Vault-Index", "a", "X-Vault-Index", "b", "Date", "x", "Content-Length", "8"), []byte(`{ "a":1}`)}, ""},
		{"status", appAnswer{201, sent.header, sent.body}, "status 200 became 201"},
		{"same JSON, other bytes", appAnswer{200, sent.header, []byte(`{"a":1}`)}, "the body is not Vault's"},
		{"line lost", appAnswer{200, header("X-Vault-Index", "a"), sent.body}, "the header X-Vault-Index is not Vault's"},
		{"lines folded", appAnswer{200, header("X-Vault-Index", "a, b"), sent.body}, "the header X-Vault-Index is not Vault's"},
		{"header added", appAnswer{200, header("X-Vault-Index", "a", "X-Vault-Index", "b", "Via", "stepup"), sent.body}, "the header Via was added"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if err := sameAnswer(c.got, sent); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("sameAnswer = %q, want %q", got, c.want)
			}
		})
	}
}

// TestDemoWords: every word that is said ahead fits on a terminal of 80 columns.
func TestDemoWords(t *testing.T) {
	t.Parallel()
	p := &page{}
	s := &sandbox{vault: &demoVault{token: "hvs." + strings.Repeat("X", 26)}, dir: "/tmp/stepup-demo-1234567890", tcp: demoApp{url: "http://127.0.0.1:65535"}}
	text := p.opening(true) + p.opening(false) + p.playground(s, true, "stepup") + p.playground(s, false, "stepup") +
		p.phoneLine(methodPayroll, "", false) + p.phoneLine(methodPayroll, "123456", true) + p.phoneLine(methodPayroll, "123456", false) +
		strings.TrimPrefix(countdown(methodPayroll), "\r") + "\n" + phoneQuestion + "\n" + textLong + "\n"
	for i, s := range steps() {
		text += p.title(i+1, 6, s.title) + p.wrap(s.story, 2, 2) + s.question(p) + "\n" + p.wrap(s.after, 5, 7)
	}
	for line := range strings.Lines(text) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 79 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// fakeKeys is a keyboard on which only the test types.
type fakeKeys struct {
	terminal.TTY
	lines chan string
	asked *[]string
}

func (f fakeKeys) Write(p []byte) (int, error) {
	*f.asked = append(*f.asked, string(p))
	return len(p), nil
}

func (f fakeKeys) ReadLine(ctx context.Context, _ bool, ask func() error) (string, error) {
	if err := ask(); err != nil {
		return "", err
	}
	select {
	case line := <-f.lines:
		return line, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (fakeKeys) Close() error { return nil }

// narrowKeys are the keys of a narrow terminal.
type narrowKeys struct{ fakeKeys }

func (narrowKeys) Size() (columns, rows int) { return 50, 24 }

func TestQuestionFitsTheTerminal(t *testing.T) {
	t.Parallel()
	lines, shown := make(chan string, 1), []string{}
	g := newGuide(nil, nil, func() (terminal.TTY, error) { return narrowKeys{fakeKeys{lines: lines, asked: &shown}}, nil })
	lines <- "123456"
	q := prompt.Request{
		Kind: prompt.Passcode, Method: "corp_totp", Path: "kv/data/prod/payroll", Operation: "read", Vault: "demo", Rule: "prod-payroll",
		Message: "wrong code, or one that was used: wait for the next one; the program has waited 32 s, and most give up after 60 s",
	}
	if _, err := g.terminal.Prompt(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	colours := regexp.MustCompile("\x1b\\[[0-9]*m")
	for line := range strings.Lines(colours.ReplaceAllString(strings.Join(shown, ""), "")) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 50 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// TestKeyboard: a question takes the keyboard from the idle demo, which gets it
// back when the question is over.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lines, asked := make(chan string), []string{}
		k := newKeyboard(func() (terminal.TTY, error) { return fakeKeys{lines: lines, asked: &asked}, nil })
		screen := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(asked, want) {
				t.Fatalf("asked %q, want %q", asked, want)
			}
		}
		idle := make(chan error)
		rest := func() { idle <- k.idle(t.Context(), "idle") }
		answer := make(chan string)
		go rest()
		screen("idle")
		go func() {
			line, err := k.ask(t.Context(), "question")
			if err != nil {
				t.Errorf("ask: %v", err)
			}
			answer <- line
		}()
		if err := <-idle; !errors.Is(err, errWanted) {
			t.Errorf("idle = %v, want errWanted", err)
		}
		go rest()
		screen("idle", "question")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := k.ask(ctx, "another"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ask behind a question = %v", err)
		}
		screen("idle", "question")
		lines <- "1"
		if got := <-answer; got != "1" {
			t.Errorf("the answer is %q", got)
		}
		screen("idle", "question", "idle")
		lines <- ""
		if err := <-idle; err != nil {
			t.Errorf("idle = %v after enter", err)
		}
	})
}

// TestOwnCommand: what the demo tells people to type is found by their shell.
func TestOwnCommand(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if got := ownCommand(); !filepath.IsAbs(got) {
		t.Errorf("without stepup on PATH: %q, want the path of this program", got)
	}
}

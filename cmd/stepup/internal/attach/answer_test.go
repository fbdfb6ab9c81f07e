//go:build unix

package attach

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/prompt"
)

// A fixture is a control socket without an agent behind it, for prompts of any
// kind.
type fixture struct {
	*prompt.Broker
	dir string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir, err := os.MkdirTemp("", "su") // short: it is the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	f := &fixture{Broker: prompt.NewBroker(prompt.BrokerConfig{Attachable: true}), dir: dir}
	l, err := net.Listen("unix", filepath.Join(dir, agent.ControlSocket))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: control.NewHandler(control.HandlerConfig{Prompts: f.Broker})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		f.Close()
		_ = server.Close()
		<-served
	})
	return f
}

type outcome struct {
	answer string
	err    error
}

// asks makes a prompt and returns its ID, and what becomes of it.
func (f *fixture) asks(t *testing.T, r prompt.Request) (id string, decided <-chan outcome) {
	t.Helper()
	events := f.Watch(t.Context(), true)
	out := make(chan outcome, 1)
	if r.Kind == prompt.Push {
		notice := f.Tell(t.Context(), r)
		t.Cleanup(func() { notice.Done("") })
	} else {
		go func() {
			answer, err := f.Ask(t.Context(), r)
			out <- outcome{answer, err}
		}()
	}
	return (<-events).Request.ID, out
}

func (f *fixture) run(t *testing.T, in io.Reader, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	env := func(name string) string {
		if name == "STEPUP_RUNTIME_DIR" {
			return f.dir
		}
		return ""
	}
	c := &cli.Console{In: in, Out: &out, Err: &err, Env: env}
	root := &cobra.Command{Use: "stepup"}
	root.AddCommand(Commands(c)...)
	code = cli.Run(t.Context(), root, args, c)
	return code, out.String(), err.String()
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		request prompt.Request
		args    []string // behind the ID
		in      string
		code    int
		answer  string // "" means that the prompt stays open
		err     error  // what the asker gets
		stderr  string
	}{
		{"a password from standard input", prompt.Request{Kind: prompt.Password}, nil, " pass word \n", cli.ExitDone, " pass word ", nil, ""},
		{"a password without an end of line", prompt.Request{Kind: prompt.Password}, nil, "secret", cli.ExitDone, "secret", nil, ""},
		{"only the first line", prompt.Request{Kind: prompt.Passcode}, nil, "123 456\r\nrest", cli.ExitDone, "123456", nil, ""},
		{"a password as an argument", prompt.Request{Kind: prompt.Password}, []string{"hunter22"}, "", cli.ExitUsage, "", nil, "a password is never an argument"},
		{"no password", prompt.Request{Kind: prompt.Password}, nil, "\n", cli.ExitFailed, "", nil, "hint: the password is empty or too long"},
		{"nothing", prompt.Request{Kind: prompt.Passcode}, nil, "", cli.ExitFailed, "", nil, "no answer on standard input\nhint: answer with the code"},
		{"too much", prompt.Request{Kind: prompt.Passcode}, nil, strings.Repeat("1", maxTyped+1), cli.ExitFailed, "", nil, "too long"},
		{"a choice by its number", prompt.Request{Kind: prompt.Choose, Choices: []string{"a", "b"}}, []string{"2"}, "", cli.ExitDone, "b", nil, ""},
		{"a choice by its name", prompt.Request{Kind: prompt.Choose, Choices: []string{"a", "b"}}, []string{"a"}, "", cli.ExitDone, "a", nil, ""},
		{"no such choice", prompt.Request{Kind: prompt.Choose, Choices: []string{"a", "b"}}, []string{"c"}, "", cli.ExitFailed, "", nil, "a name or a number: 1) a, 2) b"},
		{"a yes", prompt.Request{Kind: prompt.Confirm}, []string{"y"}, "", cli.ExitDone, "yes", nil, ""},
		{"a no", prompt.Request{Kind: prompt.Confirm}, []string{"no"}, "", cli.ExitDone, "", prompt.ErrDenied, ""},
		{"a push", prompt.Request{Kind: prompt.Push}, []string{"1"}, "", cli.ExitFailed, "", nil, "decided on the phone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			id, decided := f.asks(t, c.request)
			code, stdout, stderr := f.run(t, strings.NewReader(c.in), append([]string{"answer", strings.ToUpper(id)}, c.args...)...)
			if code != c.code || !strings.Contains(stderr, c.stderr) || (stdout == "answered "+id+"\n") != (c.code == cli.ExitDone) {
				t.Errorf("exit code %d, want %d\n%s%s", code, c.code, stdout, stderr)
			}
			if c.code != cli.ExitDone && !strings.Contains(stderr, "\nhint: ") && c.name != "too much" {
				t.Errorf("no way out:\n%s", stderr)
			}
			if strings.Contains(stdout+stderr, "hunter22") {
				t.Errorf("the answer comes back:\n%s%s", stdout, stderr)
			}
			if c.answer == "" && c.err == nil {
				if f.Len() != 1 {
					t.Error("the prompt is gone")
				}
				return
			}
			if got := <-decided; got.answer != c.answer || !errors.Is(got.err, c.err) {
				t.Errorf("the asker gets %q, %v; want %q, %v", got.answer, got.err, c.answer, c.err)
			}
		})
	}
}

func TestAnswerUnreadable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, _ := f.asks(t, prompt.Request{Kind: prompt.Passcode})
	code, _, stderr := f.run(t, iotest.ErrReader(errors.New("broken")), "answer", id)
	if code != cli.ExitFailed || stderr != "error: reading standard input: broken\n" || f.Len() != 1 {
		t.Errorf("exit code %d, %d prompts open\n%s", code, f.Len(), stderr)
	}
}

// A fakePerson answers by what the test has in mind; a nil one only waits.
type fakePerson struct {
	answer string
	err    error
	denied string // ID that the agent was told of
}

// Prompt implements prompt.Prompter.
func (p *fakePerson) Prompt(ctx context.Context, _ prompt.Request) (string, error) {
	if p.answer == "" && p.err == nil {
		<-ctx.Done()
		return "", ctx.Err()
	}
	return p.answer, p.err
}

// Answer implements decider.
func (p *fakePerson) Answer(context.Context, string, string) error { return errors.ErrUnsupported }

// Deny implements decider.
func (p *fakePerson) Deny(_ context.Context, id string) error {
	p.denied = id
	return nil
}

func TestAsk(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		person fakePerson
		left   time.Duration
		answer string
		err    error
		denied string
	}{
		{"an answer", fakePerson{answer: "1"}, time.Hour, "1", nil, ""},
		{"a no", fakePerson{err: prompt.ErrDenied}, time.Hour, "", prompt.ErrDenied, "ab3d5f"},
		{"not here", fakePerson{err: prompt.ErrUnavailable}, time.Hour, "", cli.ErrNotAnswered, ""},
		{"no answer", fakePerson{}, -time.Second, "", prompt.ErrTimeout, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			answer, err := ask(t.Context(), &c.person, &c.person, prompt.Request{ID: "ab3d5f", Deadline: time.Now().Add(c.left)})
			if answer != c.answer || !errors.Is(err, c.err) || c.person.denied != c.denied {
				t.Errorf("ask = %q, %v; the agent is told %q", answer, err, c.person.denied)
			}
			if h, ok := errors.AsType[*cli.Error](err); c.err != nil && (!ok || h.Code != cli.ExitRefused) {
				t.Errorf("not exit code %d: %v", cli.ExitRefused, err)
			}
		})
	}
}

// TestPromptsHostile: what a requester calls itself does not reach a terminal as
// it is.
func TestPromptsHostile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	hostile := "\x1b]0;title\x07\x1b[2J\n\u202eevil"
	f.asks(t, prompt.Request{Kind: prompt.Choose, Rule: hostile, Path: hostile, Operation: hostile, Choices: []string{hostile}})
	code, stdout, _ := f.run(t, nil, "prompts")
	if code != cli.ExitDone || strings.ContainsAny(stdout, "\x1b\x07\u202e") || strings.Count(stdout, "\n") != 2 {
		t.Errorf("exit code %d\n%q", code, stdout)
	}
}

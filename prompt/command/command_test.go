//go:build unix

package command_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/command"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// script writes a program for /bin/sh; its first argument is a folder of its own.
func script(t *testing.T, body string) (args []string, folder string) {
	t.Helper()
	folder = t.TempDir()
	path := filepath.Join(folder, "askpass")
	prompttest.WriteProgram(t, path, "#!/bin/sh\n"+body)
	return []string{"/bin/sh", path, folder}, folder
}

func TestCommandConforms(t *testing.T) {
	t.Parallel()
	prompttest.Run(t, func(t *testing.T) prompttest.Subject {
		args, folder := script(t, `
cat > "$1/question"
echo shown > "$1/shown"
IFS= read -r reply < "$1/reply"
case $reply in
deny) exit 1 ;;
esac
printf '%s\n' "${reply#answer }"
`)
		shown, reply := prompttest.FIFO(t, filepath.Join(folder, "shown")), prompttest.FIFO(t, filepath.Join(folder, "reply"))
		lines := bufio.NewReader(shown)
		write := func(line string) {
			if _, err := reply.WriteString(line + "\n"); err != nil {
				t.Errorf("writing the reply: %v", err)
			}
		}
		return prompttest.Subject{
			Prompter: command.New(command.Config{Args: args}),
			Shown: func() {
				if _, err := lines.ReadString('\n'); err != nil {
					t.Errorf("the program does not show anything: %v", err)
				}
			},
			Answer: func(s string) { write("answer " + s) },
			Deny:   func() { write("deny") },
		}
	})
}

func TestCommandQuestion(t *testing.T) {
	t.Parallel()
	deadline := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		name string
		in   prompt.Request
		want string
	}{
		{"empty", prompt.Request{Kind: prompt.Password, Deadline: deadline, Requester: prompt.Requester{UID: -1}},
			`{"id":"","kind":"password","rule":"","vault":"","namespace":"","path":"","operation":"","method":"","method_type":"",` +
				`"digits":0,"choices":[],"attempt":0,"attempts":0,"message":"","allows":"","number":"","requester":{"pid":0,"uid":-1,"exe":"","chain":[]},` +
				`"deadline":"2030-01-02T03:04:05Z"}`},
		{"hidden", prompt.Request{Kind: prompt.Password, Deadline: deadline, Requester: prompt.Requester{UID: 1000, Hidden: true, MayBe: []prompt.Candidate{{PID: 8, Name: "vault\x1b"}}}},
			`{"id":"","kind":"password","rule":"","vault":"","namespace":"","path":"","operation":"","method":"","method_type":"",` +
				`"digits":0,"choices":[],"attempt":0,"attempts":0,"message":"","allows":"","number":"","requester":{"pid":0,"uid":1000,"exe":"","chain":[],` +
				`"hidden":true,"may_be":[{"pid":8,"name":"vault?"}]},"deadline":"2030-01-02T03:04:05Z"}`},
		{"not installed by the system", prompt.Request{Kind: prompt.Password, Deadline: deadline, Requester: prompt.Requester{PID: 7, UID: 1000, Exe: "/tmp/vault", Origin: prompt.OriginUser}},
			`{"id":"","kind":"password","rule":"","vault":"","namespace":"","path":"","operation":"","method":"","method_type":"",` +
				`"digits":0,"choices":[],"attempt":0,"attempts":0,"message":"","allows":"","number":"","requester":{"pid":7,"uid":1000,"exe":"/tmp/vault","chain":[],` +
				`"origin":"user"},"deadline":"2030-01-02T03:04:05Z"}`},
		{"full", func() prompt.Request {
			r := prompttest.Request(prompt.Choose)
			r.Message, r.Namespace, r.Deadline = "wrong code: \"wait\"\n", "ns1", deadline
			r.Keeps = []prompt.KeepChoice{{Word: prompt.KeepOnce, Means: "for the requests that wait for it"}}
			r.Choices = append(r.Choices, "<b>$(id)\x1b[2J")
			return r
		}(),
			`{"id":"abc234","kind":"choose","rule":"prod-kv","vault":"corp","namespace":"ns1","path":"kv/data/prod/db","operation":"read",` +
				`"method":"corp_totp","method_type":"totp","digits":6,"choices":["corp_totp","corp_duo","?b??(id)??2J"],"attempt":1,"attempts":3,` +
				`"message":"wrong code: 'wait'","allows":"","keeps":[{"word":"once","means":"for the requests that wait for it"}],"number":"","requester":{"pid":4711,"uid":1000,"exe":"/usr/bin/terraform","chain":["terraform","make","zsh"]},` +
				`"deadline":"2030-01-02T03:04:05Z"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			args, folder := script(t, `cat > "$1/question"; echo 1`)
			p := command.New(command.Config{Args: args})
			if _, err := p.Prompt(t.Context(), c.in); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(folder, "question"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want+"\n", string(got)); diff != "" {
				t.Errorf("standard input (-want +got):\n%s", diff)
			}
			if !json.Valid(got) {
				t.Error("not JSON")
			}
		})
	}
}

func TestCommandEnds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body, want string
		err              error
		logged           string
	}{
		{"answer", "printf '123456\\n'", "123456", nil, ""},
		{"only one newline is dropped", "printf ' a \\n\\n'", " a \n", nil, ""},
		{"answer of a Windows program", "printf '123456\\r\\n'", "123456", nil, ""},
		{"too much output", "printf 'x%.0s' $(seq 1 9000)", strings.Repeat("x", 4096), nil, ""},
		{"denied", "echo secret; exit 1", "", prompt.ErrDenied, ""},
		{"cannot ask now", "echo secret; exit 2", "", prompt.ErrUnavailable, ""},
		{"other exit", "echo secret; echo secret >&2; exit 77", "", prompt.ErrUnavailable, "exit status 77"},
		{"killed by somebody", "echo secret; kill -9 $$", "", prompt.ErrUnavailable, "signal: killed"},
		{"does not read the question", "exec <&-; echo 1", "1", nil, ""},
		{"a child keeps the output", "echo 1; sleep 60 & exit 0", "1", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			args, _ := script(t, c.body)
			p := command.New(command.Config{Args: args, Log: slog.New(slog.NewTextHandler(&log, nil))})
			got, err := p.Prompt(t.Context(), prompttest.Request(prompt.Passcode))
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("Prompt = %.80q (%d bytes), %v; want %.80q, %v", got, len(got), err, c.want, c.err)
			}
			if !strings.Contains(log.String(), c.logged) || (c.logged == "") != (log.Len() == 0) {
				t.Errorf("logged %q, want %q in it", log.String(), c.logged)
			}
			if _, named := errors.AsType[*prompt.ProgramError](err); named != errors.Is(err, prompt.ErrUnavailable) {
				t.Errorf("the error does not name the program: %v", err)
			}
			if strings.Contains(log.String()+fmt.Sprint(err), "secret") {
				t.Errorf("the program's output is in the log or the error: %q, %v", log.String(), err)
			}
		})
	}
}

func TestCommandGetsNoEnrolment(t *testing.T) {
	t.Parallel()
	c := command.New(command.Config{Args: []string{"/does/not/exist"}})
	if _, err := c.Prompt(t.Context(), prompttest.EnrolmentRequest()); !errors.Is(err, prompt.ErrUnavailable) || !strings.Contains(err.Error(), "does not show") {
		t.Errorf("a prompt command: %v", err)
	}
}

func TestCommandIsMissing(t *testing.T) {
	t.Parallel()
	p := command.New(command.Config{Args: []string{"/nonexistent/askpass"}})
	if _, err := p.Prompt(t.Context(), prompttest.Request(prompt.Passcode)); !errors.Is(err, prompt.ErrUnavailable) {
		t.Errorf("Prompt = %v, want ErrUnavailable", err)
	}
}

// TestCommandIsKilledWithItsChildren ends a program that ignores the polite
// signal, as does its child.
func TestCommandIsKilledWithItsChildren(t *testing.T) {
	t.Parallel()
	const stubborn = `
trap '' TERM
(trap '' TERM; echo child $$ > "$1/ready"; while :; do sleep 1; done) &
echo $! > "$1/pid"; echo ready > "$1/ready"
while :; do sleep 1; done
`
	for _, c := range []struct {
		name  string
		limit func(prompt.Request) (prompt.Request, bool)
		err   error
	}{
		{"withdrawn", func(r prompt.Request) (prompt.Request, bool) { return r, true }, context.Canceled},
		{"deadline", func(r prompt.Request) (prompt.Request, bool) {
			r.Deadline = time.Now().Add(10 * time.Second) // both have said that they are ready by then
			return r, false
		}, prompt.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			args, folder := script(t, stubborn)
			ready := prompttest.FIFO(t, filepath.Join(folder, "ready"))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r, withdraw := c.limit(prompttest.Request(prompt.Passcode))
			done := make(chan error, 1)
			go func() {
				_, err := command.New(command.Config{Args: args}).Prompt(ctx, r)
				done <- err
			}()
			lines := bufio.NewReader(ready)
			for range 2 {
				if _, err := lines.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			if withdraw {
				cancel()
			}
			if err := <-done; !errors.Is(err, c.err) {
				t.Errorf("Prompt = %v, want %v", err, c.err)
			}
			raw, err := os.ReadFile(filepath.Join(folder, "pid"))
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
			if err != nil {
				t.Fatal(err)
			}
			prompttest.WaitGone(t, pid)
		})
	}
}

func TestCommandEnvironment(t *testing.T) {
	t.Parallel()
	args, folder := script(t, `env | cut -d= -f1 | sort > "$1/env"; echo 1`)
	kept := []string{
		"HOME=/home/a", "PATH=" + os.Getenv("PATH"), "DISPLAY=:0", "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1/bus",
		"XAUTHORITY=/x", "SSH_AUTH_SOCK=/s", "SUDO_ASKPASS=/bin/a", "VAULT_ADDR=http://127.0.0.1:8100", "WAYLAND_DISPLAY=w",
	}
	dropped := []string{
		"VAULT_TOKEN=x", "BAO_TOKEN=x", "VAULT_MFA=x", "BAO_MFA=x", "VAULT_HEADERS=x", "github_token=x", "AWS_SECRET_ACCESS_KEY=x",
		"PGPASSWORD=x", "RESTIC_PASSWORD_COMMAND=x", "GPG_PASSPHRASE=x", "SSHPASS=x", "MYSQL_PWD=x", "DB_PASS=x", "OPENAI_API_KEY=x",
		"HTTPS_PROXY=http://me:pw@proxy:3128", "INNOCENT=hvs.CAES", "MY_VAULT=https://u:p@vault",
	}
	p := command.New(command.Config{Args: args, Environ: func() []string { return append(kept, dropped...) }})
	if _, err := p.Prompt(t.Context(), prompttest.Request(prompt.Passcode)); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(folder, "env"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, name := range strings.Fields(string(raw)) {
		got[name] = true
	}
	for _, v := range kept {
		if name, _, _ := strings.Cut(v, "="); !got[name] {
			t.Errorf("%s is missing", name)
		}
	}
	for _, v := range dropped {
		if name, _, _ := strings.Cut(v, "="); got[name] {
			t.Errorf("%s reaches the program", name)
		}
	}
}

package prompt

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// killDelay is how long a program may take to end after it was asked to, and its
// children to let go of its output after it has ended.
const killDelay = 500 * time.Millisecond

// A CommandConfig says which program asks the person.
type CommandConfig struct {
	Args    []string        // program and arguments; not run by a shell
	Environ func() []string // nil means os.Environ; secrets are taken out
	Log     *slog.Logger    // nil means none
}

// A Command asks through a program of the user: the question is one JSON object
// on its standard input, the answer its standard output. Exit 0 answered, 1 denied,
// anything else cannot ask now. Its process group is killed when the question is
// decided or at the deadline.
type Command struct {
	config CommandConfig
}

var _ Prompter = (*Command)(nil)

// NewCommand returns a prompter that runs c.Args, which must not be empty.
func NewCommand(c CommandConfig) *Command {
	if c.Environ == nil {
		c.Environ = os.Environ
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Command{config: c}
}

// question is the JSON of the contract; no field is ever left out.
type question struct {
	ID         string    `json:"id"`
	Kind       Kind      `json:"kind"`
	Rule       string    `json:"rule"`
	Vault      string    `json:"vault"`
	Namespace  string    `json:"namespace"`
	Path       string    `json:"path"`
	Operation  string    `json:"operation"`
	Method     string    `json:"method"`
	MethodType string    `json:"method_type"`
	Digits     int       `json:"digits"`
	Choices    []string  `json:"choices"`
	Attempt    int       `json:"attempt"`
	Attempts   int       `json:"attempts"`
	Message    string    `json:"message"`
	Number     string    `json:"number"`
	Requester  requester `json:"requester"`
	Deadline   string    `json:"deadline"`
}

type requester struct {
	PID   int      `json:"pid"`
	UID   int      `json:"uid"`
	Exe   string   `json:"exe"`
	Chain []string `json:"chain"`
}

// encode returns the question of a sanitised request as one line.
func encode(r Request) ([]byte, error) {
	line, err := json.Marshal(question{
		ID: r.ID, Kind: r.Kind, Rule: r.Rule, Vault: r.Vault, Namespace: r.Namespace, Path: r.Path,
		Operation: r.Operation, Method: r.Method, MethodType: r.MethodType, Digits: r.Digits, Choices: r.Choices,
		Attempt: r.Attempt, Attempts: r.Attempts, Message: r.Message, Number: r.Number, Requester: requesterOf(r.Requester),
		Deadline: r.Deadline.Format(time.RFC3339),
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the prompt: %w", err)
	}
	return append(line, '\n'), nil
}

func requesterOf(p Requester) requester {
	return requester{PID: p.PID, UID: p.UID, Exe: p.Exe, Chain: p.Chain}
}

// Prompt implements [Prompter].
func (c *Command) Prompt(ctx context.Context, r Request) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if r.Enrolment != nil {
		// The fields of a question are fixed, and a program that logs it must not get a secret.
		return "", fmt.Errorf("%w: a prompt command does not show the secret of an authenticator", ErrUnavailable)
	}
	shown := r.sanitized()
	input, err := encode(shown)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	limited, cancel := ctx, context.CancelFunc(func() {})
	if !r.Deadline.IsZero() {
		limited, cancel = context.WithDeadline(ctx, r.Deadline)
	}
	defer cancel()
	answer, err := c.run(limited, input)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case limited.Err() != nil:
		c.config.Log.Warn("prompt command did not answer in time", "command", c.name(), "id", r.ID)
		return "", fmt.Errorf("%w: command %s did not answer in time", ErrUnavailable, c.name())
	case err != nil:
		return "", err
	}
	for i, choice := range shown.Choices {
		if r.Kind == Choose && choice == strings.TrimSpace(answer) {
			return r.Choices[i], nil
		}
	}
	return answer, nil
}

// run starts the program and waits for it and for its output.
func (c *Command) run(ctx context.Context, input []byte) (string, error) {
	cmd := exec.CommandContext(ctx, c.config.Args[0], c.config.Args[1:]...)
	cmd.Env = withoutSecrets(c.config.Environ())
	cmd.Stdin = bytes.NewReader(input)
	answer := limitedBuffer{room: maxAnswer}
	cmd.Stdout = &answer
	// Standard error goes nowhere: a script under "set -x" would write the code there.
	cmd.WaitDelay = killDelay
	release := ownGroup(cmd)
	err := cmd.Run()
	release()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if cmd.ProcessState == nil {
		c.config.Log.Warn("prompt command cannot be started", "command", c.name(), "error", err)
		return "", fmt.Errorf("%w: command %s cannot be started", ErrUnavailable, c.name())
	}
	switch code := cmd.ProcessState.ExitCode(); code {
	case 0:
		return strings.TrimSuffix(strings.TrimSuffix(answer.kept.String(), "\n"), "\r"), nil
	case 1:
		return "", ErrDenied
	case 2:
		return "", fmt.Errorf("%w: command %s cannot ask now", ErrUnavailable, c.name())
	default:
		c.config.Log.Warn("prompt command failed", "command", c.name(), "state", cmd.ProcessState.String())
		return "", fmt.Errorf("%w: command %s failed: %s", ErrUnavailable, c.name(), cmd.ProcessState)
	}
}

// name is what logs call the program; its arguments may say more than they should.
func (c *Command) name() string { return filepath.Base(c.config.Args[0]) }

// limitedBuffer keeps the first bytes and swallows the rest, so that a program
// that talks on is not stopped in the middle.
type limitedBuffer struct {
	kept bytes.Buffer // not embedded: its ReadFrom would take everything
	room int
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	n, err := b.kept.Write(p[:min(len(p), b.room)])
	b.room -= n
	return len(p), err
}

var _ io.Writer = (*limitedBuffer)(nil)

// secretWords mark a variable that holds a secret by its name, wherever they
// stand in it: VAULT_TOKEN, BAO_TOKEN, GITHUB_TOKEN, AWS_SECRET_ACCESS_KEY, PGPASSWORD,
// RESTIC_PASSWORD. Dropping one too many only costs the prompt command a variable that
// it hardly needs.
func secretWords() []string {
	return []string{
		"TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "PASSCODE", "CREDENTIAL",
		"PRIVATE_KEY", "API_KEY", "APIKEY", "ACCESS_KEY", "COOKIE",
	}
}

// secretNames are those that the words do not find: Vault's and OpenBao's MFA
// credentials and extra headers, and sshpass. As suffixes: DB_PASS, MYSQL_PWD (not PWD and OLDPWD).
func secretName(name string) bool {
	switch name {
	case "VAULT_MFA", "BAO_MFA", "VAULT_HEADERS", "BAO_HEADERS", "SSHPASS":
		return true
	}
	for _, word := range secretWords() {
		if strings.Contains(name, word) {
			return true
		}
	}
	return strings.HasSuffix(name, "_PASS") || strings.HasSuffix(name, "_PWD") || strings.HasSuffix(name, "_PIN")
}

// secretValue finds secrets under an innocent name: Vault tokens, and addresses
// with a password in them (HTTPS_PROXY, the VAULT_ADDR of a single run).
func secretValue(value string) bool {
	for _, prefix := range []string{"hvs.", "hvb.", "hvr."} {
		if strings.HasPrefix(value, prefix) {
			return true
		}
	}
	_, rest, ok := strings.Cut(value, "://")
	if !ok {
		return false
	}
	authority, _, _ := strings.Cut(rest, "/")
	user, _, ok := strings.Cut(authority, "@")
	return ok && strings.Contains(user, ":")
}

// Environ is this process's environment for a program of the user: without
// Vault's token variables and whatever else looks like a secret.
func Environ() []string { return withoutSecrets(os.Environ()) }

// withoutSecrets returns the environment for a program that is not ours.
func withoutSecrets(environ []string) []string {
	kept := make([]string, 0, len(environ))
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		if !secretName(strings.ToUpper(name)) && !secretValue(value) {
			kept = append(kept, variable)
		}
	}
	return kept
}

package keyring

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/cache/secret"
)

// A Child is the keyring of the operating system, each call in a process of its own. The
// library underneath can wait for ever on a dialog; when the limit is over the process is
// killed, and the dialog goes away with its connection to the bus. A secret travels
// through pipes only, never in arguments or environment.
type Child struct {
	// Command is the program with its arguments that runs [Serve] between its standard
	// input and output. The program must be an absolute path.
	Command []string
	// Name is what the program is called in lists of processes; "" means its path.
	Name string
	// Limit bounds one call. Zero means 3 seconds.
	Limit time.Duration
	// Env is the environment of the process; nil means that of this process. Vault's
	// token variables are taken out of either.
	Env []string
}

var _ Keyring = (*Child)(nil)

// Get implements [Keyring].
func (c *Child) Get(ctx context.Context, name string) (secret.Secret, error) {
	return c.call(ctx, request{Operation: opGet, Name: name})
}

// Set implements [Keyring].
func (c *Child) Set(ctx context.Context, name string, value secret.Secret) error {
	_, err := c.call(ctx, request{Operation: opSet, Name: name, Value: value.Reveal()})
	return err
}

// Delete implements [Keyring].
func (c *Child) Delete(ctx context.Context, name string) error {
	if _, err := c.call(ctx, request{Operation: opDelete, Name: name}); !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

func (c *Child) call(ctx context.Context, q request) (secret.Secret, error) {
	q.Version, q.Service = protocol, service
	frame, err := json.Marshal(q)
	if err != nil || len(frame) > maxFrame {
		return "", ErrTooLarge // and not err, which may quote the value
	}
	limit := c.Limit
	if limit == 0 {
		limit = 3 * time.Second
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	a, err := c.run(limited, frame)
	switch {
	case err == nil:
		return a.result(secret.Secret(q.Value))
	case ctx.Err() != nil:
		return "", fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	case limited.Err() != nil:
		return "", TooSlow(limit)
	default:
		return "", &Error{Failed, whyHelper + ": " + whyOther(err.Error(), secret.Secret(q.Value))}
	}
}

// run starts the process, gives it frame and returns its answer. No process is left when
// it returns.
func (c *Child) run(ctx context.Context, frame []byte) (answer, error) {
	if len(c.Command) == 0 {
		return answer{}, errors.New("no helper program is set")
	}
	cmd := exec.CommandContext(ctx, c.Command[0], c.Command[1:]...)
	cmd.Args[0] = cmp.Or(c.Name, c.Command[0])
	cmd.Env = c.environment()
	cmd.WaitDelay = time.Second
	killWithChildren(cmd)
	// The pipe stays open until the process ends: its end tells the process that nothing
	// waits for its dialog any more.
	in, err := cmd.StdinPipe()
	if err != nil {
		return answer{}, err
	}
	out := &boundedBuffer{limit: maxFrame}
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		return answer{}, err
	}
	_, writeErr := in.Write(frame) // fits into the pipe: does not block
	waitErr := cmd.Wait()
	var a answer
	if err := json.Unmarshal(out.kept.Bytes(), &a); err != nil {
		return answer{}, errors.Join(writeErr, waitErr, errors.New("no answer"))
	}
	if a.Version != protocol {
		return answer{}, errors.New(whyProtocol)
	}
	return a, nil
}

func (c *Child) environment() []string {
	env := c.Env
	if env == nil {
		env = os.Environ()
	}
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		return strings.HasPrefix(v, "VAULT_TOKEN=") || strings.HasPrefix(v, "BAO_TOKEN=")
	})
}

// A boundedBuffer drops what is too much instead of blocking its writer. The
// buffer is not embedded: io.Copy would find its ReadFrom and pass the limit by.
type boundedBuffer struct {
	kept  bytes.Buffer
	limit int
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	_, _ = b.kept.Write(p[:min(len(p), b.limit-b.kept.Len())])
	return len(p), nil
}

package keyring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	system "github.com/zalando/go-keyring"

	"github.com/vault-stepup/stepup/cache/secret"
)

// The protocol between [Child] and [Serve]: one request, one answer, each one JSON
// object. Both ends are normally the same program.
const (
	protocol = 1
	maxFrame = 32 << 10 // bytes of the largest request or answer

	opGet    = "get"
	opSet    = "set"
	opDelete = "delete"

	statusOK       = "ok"
	statusNotFound = "not_found"
	statusTooLarge = "too_large"
	// Any other status is the Condition of an Error.
)

// The values below are plain strings, not Secrets: they have to be written.
// Neither type is ever printed or logged.

type request struct {
	Version   int    `json:"v"`
	Operation string `json:"op"`
	Service   string `json:"service"`
	Name      string `json:"user"`
	Value     string `json:"value"`
}

type answer struct {
	Version int    `json:"v"`
	Status  string `json:"status"`
	Why     string `json:"why"`
	Value   string `json:"value"`
}

// result gives the answer as a Keyring does. value is the secret of the request.
func (a answer) result(value secret.Secret) (secret.Secret, error) {
	condition := Condition(a.Status)
	switch a.Status {
	case statusOK:
		return secret.Secret(a.Value), nil
	case statusNotFound:
		return "", ErrNotFound
	case statusTooLarge:
		return "", ErrTooLarge
	case string(Locked), string(Missing), string(Disabled):
	default:
		condition = Failed
	}
	return "", &Error{condition, whyOther(a.Why, value)}
}

// Serve answers one request of a [Child] from the keyring of the operating system. It
// first looks, without provoking a dialog, whether the keyring can be used. If in ends
// before there is an answer, nothing waits for one any more: Serve returns an error, with
// nothing written.
//
// It is for a process that ends when Serve returns: a call that hangs in the keyring
// cannot be stopped in any other way.
func Serve(in io.Reader, out io.Writer) error {
	decoder := json.NewDecoder(io.LimitReader(in, maxFrame))
	var q request
	if err := decoder.Decode(&q); err != nil {
		return errors.New("no keyring request on standard input") // err may quote it
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	answered := make(chan answer, 1)
	go func() { answered <- answerTo(ctx, q) }()
	select {
	case a := <-answered:
		return json.NewEncoder(out).Encode(a)
	case <-ctx.Done():
		return errors.New("nobody waits for the keyring any more")
	}
}

func answerTo(ctx context.Context, q request) answer {
	value, err := operate(ctx, q)
	a := answer{Version: protocol, Status: statusOK, Value: value}
	var known *Error
	switch {
	case err == nil:
	case errors.Is(err, system.ErrNotFound):
		a.Status = statusNotFound
	case errors.Is(err, system.ErrSetDataTooBig):
		a.Status = statusTooLarge
	case errors.Is(err, system.ErrUnsupportedPlatform):
		a.Status, a.Why = string(Missing), "this platform has no keyring"
	case errors.As(err, &known):
		a.Status, a.Why = string(known.Condition), known.Why
	default:
		a.Status, a.Why = string(Failed), whyOther(err.Error(), secret.Secret(q.Value))
	}
	return a
}

func operate(ctx context.Context, q request) (string, error) {
	if q.Version != protocol {
		return "", &Error{Failed, whyProtocol}
	}
	// With an empty service or name the libraries match items of other programs.
	if q.Service == "" || q.Name == "" {
		return "", fmt.Errorf("keyring %s without service or user", q.Operation)
	}
	switch q.Operation {
	case opGet, opDelete:
	case opSet:
		q.Value = encodeValue(q.Value)
	default:
		return "", errors.New("unknown keyring operation")
	}
	stored, err := perform(ctx, q)
	if err != nil {
		return "", err
	}
	value, ok := decodeValue(stored)
	if !ok { // of no use, and overwritten by the next
		return "", system.ErrNotFound
	}
	return value, nil
}

// viaLibrary works on the item of a request with go-keyring, which returns a value for
// [opGet].
func viaLibrary(q request) (string, error) {
	switch q.Operation {
	case opGet:
		return system.Get(q.Service, q.Name)
	case opSet:
		return "", system.Set(q.Service, q.Name, q.Value)
	default:
		return "", system.Delete(q.Service, q.Name)
	}
}

package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/zalando/go-keyring"

	"github.com/vault-stepup/stepup/cache/secret"
)

// The protocol between ChildRing and ServeRing: one request, one answer, each
// one JSON object. Both ends are normally the same program.
const (
	ringVersion = 1
	ringFrame   = 32 << 10 // bytes of the largest request or answer

	ringGet    = "get"
	ringSet    = "set"
	ringDelete = "delete"

	ringOK       = "ok"
	ringNotFound = "not_found"
	ringTooLarge = "too_large"
	// Any other status is the Condition of a RingError.
)

// The values below are plain strings, not Secrets: they have to be written.
// Neither type is ever printed or logged.

type ringRequest struct {
	Version   int    `json:"v"`
	Operation string `json:"op"`
	Service   string `json:"service"`
	User      string `json:"user"`
	Value     string `json:"value"`
}

type ringAnswer struct {
	Version int    `json:"v"`
	Status  string `json:"status"`
	Why     string `json:"why"`
	Value   string `json:"value"`
}

// result gives the answer as a Ring does. sent is the secret of the request.
func (a ringAnswer) result(sent secret.Secret) (secret.Secret, error) {
	switch a.Status {
	case ringOK:
		return secret.Secret(a.Value), nil
	case ringNotFound:
		return "", ErrNotFound
	case ringTooLarge:
		return "", ErrTooLarge
	}
	why := whyOther(a.Why, sent)
	switch c := Condition(a.Status); c {
	case Locked, Missing, Disabled:
		return "", &RingError{Condition: c, Why: why}
	default:
		return "", &RingError{Condition: Failed, Why: why}
	}
}

// ServeRing answers one request of a [ChildRing] from the keyring of the
// operating system. It first looks, without provoking a dialog, whether the
// keyring can be used. It returns an error, with nothing written, when in ends
// before there is an answer: whoever asked is gone.
//
// It is for a process that ends when ServeRing returns: a call that hangs in the
// keyring cannot be stopped in any other way.
func ServeRing(in io.Reader, out io.Writer) error {
	decoder := json.NewDecoder(io.LimitReader(in, ringFrame))
	var q ringRequest
	if err := decoder.Decode(&q); err != nil {
		return errors.New("no keyring request on standard input") // err may quote it
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	answered := make(chan ringAnswer, 1)
	go func() { answered <- answer(ctx, q) }()
	select {
	case a := <-answered:
		return json.NewEncoder(out).Encode(a)
	case <-ctx.Done():
		return errors.New("nobody waits for the keyring any more")
	}
}

func answer(ctx context.Context, q ringRequest) ringAnswer {
	value, err := operate(ctx, q)
	a := ringAnswer{Version: ringVersion, Status: ringOK, Value: value}
	var ring *RingError
	switch {
	case err == nil:
	case errors.Is(err, keyring.ErrNotFound):
		a.Status = ringNotFound
	case errors.Is(err, keyring.ErrSetDataTooBig):
		a.Status = ringTooLarge
	case errors.Is(err, keyring.ErrUnsupportedPlatform):
		a.Status, a.Why = string(Missing), whyUnsupported
	case errors.As(err, &ring):
		a.Status, a.Why = string(ring.Condition), ring.Why
	default:
		a.Status, a.Why = string(Failed), whyOther(err.Error(), secret.Secret(q.Value))
	}
	return a
}

func operate(ctx context.Context, q ringRequest) (string, error) {
	if q.Version != ringVersion {
		return "", &RingError{Condition: Failed, Why: whyProtocol}
	}
	// With an empty service or user the libraries match items of other programs.
	if q.Service == "" || q.User == "" {
		return "", fmt.Errorf("keyring %s without service or user", q.Operation)
	}
	if err := usable(ctx, q.Service, q.User); err != nil {
		return "", err
	}
	switch q.Operation {
	case ringGet:
		return keyring.Get(q.Service, q.User)
	case ringSet:
		return "", keyring.Set(q.Service, q.User, q.Value)
	case ringDelete:
		return "", keyring.Delete(q.Service, q.User)
	default:
		return "", errors.New("unknown keyring operation")
	}
}

package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/ownership"
	"github.com/vault-stepup/stepup/prompt"
)

// ErrNoAgent: there is no socket, or nobody listens on it.
var ErrNoAgent = errors.New("no agent is running")

// An Error is a refusal by the agent.
type Error struct {
	Status int
	Errors []string

	cause error // what it was on the other side, where that is known
}

func (e *Error) Unwrap() error { return e.cause }

func (e *Error) Error() string {
	if len(e.Errors) == 0 {
		return fmt.Sprintf("the agent answered %d", e.Status)
	}
	return strings.Join(e.Errors, "; ")
}

// A Client talks to the agent of the same user. Every call connects anew, and
// blocks no longer than its context. Errors wrap [ErrNoAgent],
// [prompt.ErrUnknown] or [prompt.ErrAnswer], or are an *[Error].
type Client struct {
	http *http.Client
}

// NewClient returns a client of the socket at the path. It connects to nothing.
func NewClient(socket string) *Client {
	return &Client{http: &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dial(ctx, socket)
			},
		},
		// The agent redirects nowhere; a code must not follow one.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// dial connects to the agent of the same user and to nobody else. Where the
// runtime folder is in a place that all may write to, another user can be first,
// listen under our name, and be handed a fresh passcode by stepup answer.
func dial(ctx context.Context, socket string) (net.Conn, error) {
	if err := checkSocket(socket); err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if nobodyListens(err) {
		return nil, fmt.Errorf("%w: %w", ErrNoAgent, err)
	}
	if err != nil {
		return nil, err
	}
	// The file may have been swapped since: what counts is who listens.
	if err := peer.Identify(conn).SameUser(); err != nil && !errors.Is(err, peer.ErrUnsupported) {
		_ = conn.Close()
		return nil, fmt.Errorf(wordsStranger+": %w", socket, err)
	}
	return conn, nil
}

// checkSocket refuses a socket that somebody else has put there.
func checkSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrNoAgent, err)
	}
	if err != nil {
		return err
	}
	if !isSocket(info) {
		return fmt.Errorf(wordsNoSocket, path)
	}
	// Root's is not ours either: stepup never runs as root for another user.
	if !ownership.Ours(info) {
		return fmt.Errorf(wordsSquatted, path, ownership.UID(info))
	}
	return nil
}

// Status returns the agent's status.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.call(ctx, route{http.MethodGet, "/v1/status"}, nil, &s)
	return s, err
}

// Prompts returns the pending prompts, oldest first.
func (c *Client) Prompts(ctx context.Context) ([]Prompt, error) {
	var l promptList
	err := c.call(ctx, route{http.MethodGet, "/v1/prompts"}, nil, &l)
	return l.Prompts, err
}

// Answer answers a prompt. prompt.ErrAnswer leaves it open.
func (c *Client) Answer(ctx context.Context, id, answer string) error {
	err := c.call(ctx, promptRoute(id, "answer"), answerBody{&answer}, nil)
	return promptError(err)
}

// Deny says no to a prompt.
func (c *Client) Deny(ctx context.Context, id string) error {
	return promptError(c.call(ctx, promptRoute(id, "deny"), nil, nil))
}

// Lock forgets and revokes all step-up tokens and cancels all prompts.
func (c *Client) Lock(ctx context.Context) (LockResult, error) {
	var r LockResult
	err := c.call(ctx, route{http.MethodPost, "/v1/lock"}, nil, &r)
	return r, err
}

// Events connects and returns the stream of events, the first of which is of
// type Watching. With attach the agent counts on this client to answer, and to show
// the secret of a prompt that has an Enrolment. Range
// over it once, or end ctx. It ends when ctx does or the agent closes it, and
// after an error.
func (c *Client) Events(ctx context.Context, attach bool) (iter.Seq2[Event, error], error) {
	path := "/v1/events"
	if attach {
		path += "?attach=true&enrolment=true"
	}
	resp, err := c.send(ctx, route{http.MethodGet, path}, nil)
	if err != nil {
		return nil, err
	}
	return func(yield func(Event, error) bool) {
		defer func() { _ = resp.Body.Close() }()
		dec := json.NewDecoder(resp.Body)
		for {
			var line eventLine
			err := dec.Decode(&line)
			switch {
			case err == nil:
				if !yield(line.event(), nil) {
					return
				}
			case errors.Is(err, io.EOF) || ctx.Err() != nil:
				return
			default:
				yield(Event{}, fmt.Errorf(wordsBadStream+": %w", err))
				return
			}
		}
	}, nil
}

// A route is one entry of the control socket.
type route struct{ method, path string }

func promptRoute(id, verb string) route {
	return route{http.MethodPost, "/v1/prompts/" + url.PathEscape(id) + "/" + verb}
}

// promptError gives the refusals of answer and deny the errors that the broker
// had on the other side.
func promptError(err error) error {
	refusal, ok := errors.AsType[*Error](err)
	switch {
	case ok && refusal.Status == http.StatusNotFound:
		refusal.cause = prompt.ErrUnknown
	case ok && refusal.Status == http.StatusBadRequest:
		refusal.cause = prompt.ErrAnswer
	}
	return err
}

// call sends in and decodes the answer into out; either may be nil.
func (c *Client) call(ctx context.Context, at route, in, out any) error {
	resp, err := c.send(ctx, at, in)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf(wordsBadReply+": %w", err)
	}
	return nil
}

// send returns the answer of a request that was not refused.
func (c *Client) send(ctx context.Context, at route, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, at.method, "http://localhost"+at.path, body)
	if err != nil {
		return nil, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		// Without the URL around it: people know a socket, not http://localhost.
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err
		}
		return nil, err
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	refusal := &Error{Status: resp.StatusCode}
	var b errorBody
	if json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&b) == nil {
		refusal.Errors = b.Errors
	}
	return nil, refusal
}

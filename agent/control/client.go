package control

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/vault-stepup/stepup/prompt"
)

// Errors of a client.
var (
	// ErrNoAgent: there is no socket, or no process listens on it.
	ErrNoAgent = errors.New("no agent is running")
	// ErrEnded: the connection was closed in place of an answer. A service manager that
	// cannot start the agent does so.
	ErrEnded = errors.New("the agent has ended before it answered")
)

// An Error is a refusal by the agent.
type Error struct {
	Status int
	Errors []string

	cause error // the error of the other side, where that is known
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

// NewClient returns a client of the first of the sockets that an agent listens on. It
// connects to nothing.
func NewClient(sockets ...string) *Client {
	return &Client{http: &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialFirst(ctx, sockets)
			},
		},
		// The agent redirects nowhere; a code must not follow one.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// dialFirst fails as for the first socket where no agent listens on any.
func dialFirst(ctx context.Context, sockets []string) (net.Conn, error) {
	var first error
	for _, socket := range sockets {
		conn, err := dial(ctx, socket)
		if !errors.Is(err, ErrNoAgent) {
			return conn, err
		}
		first = cmp.Or(first, err)
	}
	return nil, first
}

// Status returns the agent's status.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.call(ctx, route{method: http.MethodGet, path: "/v1/status"}, nil, &s)
	return s, err
}

// Prompts returns the pending prompts, oldest first.
func (c *Client) Prompts(ctx context.Context) ([]prompt.Request, error) {
	var l promptList
	err := c.call(ctx, route{method: http.MethodGet, path: "/v1/prompts"}, nil, &l)
	return l.Prompts, err
}

// Answer answers a prompt. prompt.ErrAnswer leaves it open.
func (c *Client) Answer(ctx context.Context, id, answer string) error {
	return c.call(ctx, promptRoute(id, "answer"), answerBody{Answer: &answer}, nil)
}

// Deny says no to a prompt.
func (c *Client) Deny(ctx context.Context, id string) error {
	return c.call(ctx, promptRoute(id, "deny"), nil, nil)
}

// Lock forgets and revokes all step-up tokens and cancels all prompts.
func (c *Client) Lock(ctx context.Context) (LockResult, error) {
	var r LockResult
	err := c.call(ctx, route{method: http.MethodPost, path: "/v1/lock"}, nil, &r)
	return r, err
}

// LockRule is Lock for the step-ups and prompts of one rule. The error wraps ErrNoRule
// where there is neither such a rule nor anything of it.
func (c *Client) LockRule(ctx context.Context, rule string) (LockResult, error) {
	var r LockResult
	at := route{http.MethodPost, "/v1/rules/" + url.PathEscape(rule) + "/lock", map[int]error{http.StatusNotFound: ErrNoRule}}
	err := c.call(ctx, at, nil, &r)
	return r, err
}

// Events connects and returns the stream of events, the first of which is of
// type Watching. With attach the agent counts on this client to answer, and to show
// the secret of a prompt that has an Enrolment. Range
// over it once, or end ctx. It ends when ctx does or the agent closes it, and
// after an error.
func (c *Client) Events(ctx context.Context, attach bool) (iter.Seq2[prompt.Event, error], error) {
	path := "/v1/events"
	if attach {
		path += "?attach=true&enrolment=true"
	}
	resp, err := c.send(ctx, route{method: http.MethodGet, path: path}, nil)
	if err != nil {
		return nil, err
	}
	return func(yield func(prompt.Event, error) bool) {
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
				yield(prompt.Event{}, fmt.Errorf("the stream of events broke off: %w", err))
				return
			}
		}
	}, nil
}

// Resume unmutes rules and ends cool-downs. The agent refuses a second one within ten minutes.
func (c *Client) Resume(ctx context.Context) (Resumed, error) {
	var r Resumed
	err := c.call(ctx, route{method: http.MethodPost, path: "/v1/resume"}, nil, &r)
	return r, err
}

// Listeners returns where programs can connect, without asking any vault
// whether it answers.
func (c *Client) Listeners(ctx context.Context) ([]Listener, error) {
	var l listenerList
	err := c.call(ctx, route{method: http.MethodGet, path: "/v1/listeners"}, nil, &l)
	return l.Listeners, err
}

// Lease opens a listener that only this process and those that it starts may
// use. It stays open until ctx ends, or the agent does. The error wraps ErrNoVault
// where there is no vault of that name.
func (c *Client) Lease(ctx context.Context, w Wanted) (Lease, error) {
	at := route{http.MethodPost, "/v1/listeners", map[int]error{http.StatusNotFound: ErrNoVault}}
	resp, err := c.send(ctx, at, w)
	if err != nil {
		return Lease{}, err
	}
	var l Lease
	if err := json.NewDecoder(resp.Body).Decode(&l); err != nil {
		_ = resp.Body.Close()
		return Lease{}, fmt.Errorf(wordsBadReply, err)
	}
	// The body stays open: closing it would end the listener. ctx closes it.
	context.AfterFunc(ctx, func() { _ = resp.Body.Close() })
	return l, nil
}

// Release ends a private listener before its command does.
func (c *Client) Release(ctx context.Context, id string) error {
	return c.call(ctx, route{method: http.MethodDelete, path: "/v1/listeners/" + id}, nil, nil)
}

// Obtain steps up to the token of a rule and blocks until the person has decided,
// or ctx ends. A no is no error. The error wraps ErrNoRule where there is no such
// rule or vault, and ErrHeaderGrant.
func (c *Client) Obtain(ctx context.Context, o Obtain) (Obtained, error) {
	var got Obtained
	at := route{http.MethodPost, "/v1/stepup", map[int]error{http.StatusNotFound: ErrNoRule, http.StatusConflict: ErrHeaderGrant, http.StatusUnprocessableEntity: ErrProgramScope}}
	err := c.call(ctx, at, obtainBody{o, o.Token.Reveal()}, &got)
	return got, err
}

// Explain tells what would happen to a request. It may ask Vault, which takes some
// seconds at most. The error wraps ErrNoVault or ErrNoPath.
func (c *Client) Explain(ctx context.Context, x Explain) (Explanation, error) {
	var e Explanation
	at := route{http.MethodPost, "/v1/explain", map[int]error{http.StatusNotFound: ErrNoVault, http.StatusBadRequest: ErrNoPath}}
	err := c.call(ctx, at, explainBody{x, x.Token.Reveal()}, &e)
	return e, err
}

// A route is one entry of the control socket.
type route struct {
	method, path string
	causes       map[int]error // what a refusal with this status was on the other side
}

func promptRoute(id, verb string) route {
	return route{http.MethodPost, "/v1/prompts/" + url.PathEscape(id) + "/" + verb, map[int]error{
		http.StatusNotFound: prompt.ErrUnknown, http.StatusBadRequest: prompt.ErrAnswer,
	}}
}

// wordsBadReply is the format of an error that has a cause.
const wordsBadReply = "the agent's answer is not JSON: %w"

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
		return fmt.Errorf(wordsBadReply, err)
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
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			err = fmt.Errorf("%w: %w", ErrEnded, err)
		}
		return nil, err
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	refusal := &Error{Status: resp.StatusCode, cause: at.causes[resp.StatusCode]}
	var b errorBody
	if json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&b) == nil {
		refusal.Errors = b.Errors
	}
	return nil, refusal
}

package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// A Lease is a listener for one process and those that it starts. POST
// /v1/listeners {"vault","network"} answers with it and keeps the answer open: the listener
// ends with the connection, and so with the process that asked for it, or by
// DELETE /v1/listeners/{id}.
type Lease struct {
	ID      string
	Network string // tcp or unix
	Address string // host:port, or the path of the socket; plain HTTP
	// Done is closed when the listener has ended; nil on a client's side.
	Done <-chan struct{}
}

type leaseBody struct {
	ID      string `json:"id"`
	Network string `json:"network"`
	Address string `json:"address"`
}

// A Wanted is the listener that a client asks for.
type Wanted struct {
	Vault string `json:"vault"` // "" is the only one
	// Network is tcp, or unix for clients whose process cannot be found by a TCP
	// connection. "" is tcp.
	Network string `json:"network"`
}

type listenerList struct {
	Listeners []Listener `json:"listeners"`
}

// Errors of a [Leaser].
var (
	// ErrNoVault: the agent has no vault of that name.
	ErrNoVault = errors.New("no such vault in the agent's configuration")
	// ErrNoPeer: the system does not say which process is asking.
	ErrNoPeer = errors.New("this system does not tell which process is asking")
)

// A Leaser opens listeners for one command each.
type Leaser interface {
	// Listeners are all that are open, those of the configuration first. It does
	// not ask any vault.
	Listeners() []Listener
	// Lease opens a listener for the peer of ctx and the processes below it. It
	// returns an error wrapping ErrNoVault or ErrNoPeer. The listener stays until
	// Release.
	Lease(ctx context.Context, w Wanted) (Lease, error)
	// Release ends a listener and reports whether there was one.
	Release(id string) bool
}

func (h *handler) listeners(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		writeJSON(w, http.StatusOK, listenerList{notNil(h.Leases.Listeners())})
	case http.MethodPost:
		h.lease(w, r)
	default:
		w.Header().Set("Allow", "GET, POST")
		writeError(w, http.StatusMethodNotAllowed, fmt.Sprintf(wordsMethod, "GET or POST"))
	}
}

// lease keeps the request open for as long as the listener is.
func (h *handler) lease(w http.ResponseWriter, r *http.Request) {
	var wanted Wanted
	if json.NewDecoder(r.Body).Decode(&wanted) != nil || !slices.Contains([]string{"", "tcp", "unix"}, wanted.Network) {
		writeError(w, http.StatusBadRequest, wordsBadListen)
		return
	}
	lease, err := h.Leases.Lease(r.Context(), wanted)
	switch {
	case errors.Is(err, ErrNoVault):
		writeError(w, http.StatusNotFound, ErrNoVault.Error())
		return
	case errors.Is(err, ErrNoPeer):
		writeError(w, http.StatusForbidden, ErrNoPeer.Error())
		return
	case err != nil:
		h.Log.Error("a private listener cannot be opened", "error", err)
		writeError(w, http.StatusInternalServerError, wordsInternal)
		return
	}
	defer h.Leases.Release(lease.ID)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // a recorder of a test has none
	err = json.NewEncoder(w).Encode(leaseBody{lease.ID, lease.Network, lease.Address})
	if err != nil || rc.Flush() != nil {
		return
	}
	select {
	case <-r.Context().Done():
	case <-lease.Done:
	}
}

func (h *handler) release(w http.ResponseWriter, r *http.Request) {
	if !h.Leases.Release(r.PathValue("id")) {
		writeError(w, http.StatusNotFound, wordsNoListener)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// Listeners returns where programs can connect, without asking any vault
// whether it answers.
func (c *Client) Listeners(ctx context.Context) ([]Listener, error) {
	var l listenerList
	err := c.call(ctx, route{http.MethodGet, "/v1/listeners"}, nil, &l)
	return l.Listeners, err
}

// Lease opens a listener that only this process and those that it starts may
// use. It stays open until ctx ends, or the agent does. The error wraps ErrNoVault
// where there is no vault of that name.
func (c *Client) Lease(ctx context.Context, w Wanted) (Lease, error) {
	resp, err := c.send(ctx, route{http.MethodPost, "/v1/listeners"}, w)
	if refusal, ok := errors.AsType[*Error](err); ok && refusal.Status == http.StatusNotFound {
		refusal.cause = ErrNoVault
	}
	if err != nil {
		return Lease{}, err
	}
	var b leaseBody
	if err := json.NewDecoder(resp.Body).Decode(&b); err != nil {
		_ = resp.Body.Close()
		return Lease{}, fmt.Errorf(wordsBadReply+": %w", err)
	}
	// The body stays open: closing it would end the listener. ctx closes it.
	context.AfterFunc(ctx, func() { _ = resp.Body.Close() })
	return Lease{ID: b.ID, Network: b.Network, Address: b.Address}, nil
}

// Release ends a private listener before its command does.
func (c *Client) Release(ctx context.Context, id string) error {
	return c.call(ctx, route{http.MethodDelete, "/v1/listeners/" + id}, nil, nil)
}

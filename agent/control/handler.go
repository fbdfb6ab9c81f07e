package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/prompt"
)

const (
	maxBody = 64 << 10
	// A client that no longer reads its events is dropped after this time.
	writeTimeout = 10 * time.Second
	lockTimeout  = 60 * time.Second
)

// Prompts are the pending questions. [prompt.Broker] has them.
type Prompts interface {
	// Pending returns the open prompts, oldest first.
	Pending() []prompt.Request
	// Watch streams what happens to prompts, starting with the pending ones, until
	// ctx ends or the reader is too slow, then closes the channel. attach says that
	// its reader will answer.
	Watch(ctx context.Context, attach bool) <-chan prompt.Event
}

// Answers decide a prompt. [prompt.Broker] takes them.
type Answers interface {
	// Answer returns an error wrapping prompt.ErrUnknown or prompt.ErrAnswer.
	Answer(id, answer string) error
	// Deny returns an error wrapping prompt.ErrUnknown.
	Deny(id string) error
}

// A Broker is both.
type Broker interface {
	Prompts
	Answers
}

// HandlerConfig is what the control socket gives access to. Every field is required by
// the routes that use it.
type HandlerConfig struct {
	Prompts Broker
	// Status collects the status; it may take some seconds.
	Status func(context.Context) Status
	// Lock forgets and revokes all tokens and cancels all prompts. Its context
	// does not end with the client.
	Lock func(context.Context) LockResult
	// LockRule is Lock for one rule. It fails with ErrNoRule.
	LockRule func(ctx context.Context, rule string) (LockResult, error)
	// Resume unmutes rules and ends cool-downs. It fails with a *TooSoonError.
	Resume func(context.Context) (Resumed, error)
	// Leases opens listeners for one command each.
	Leases Leaser
	// Obtain steps up before a request needs it. It fails with ErrNoVault, ErrNoRule or
	// ErrHeaderGrant; a person's no is no error.
	Obtain func(context.Context, Obtain) (Obtained, error)
	// Explain tells what would happen to a request. It fails with ErrNoVault or
	// ErrNoPath.
	Explain func(context.Context, Explain) (Explanation, error)
	Log     *slog.Logger
}

type handler struct {
	HandlerConfig
}

// NewHandler returns the control socket's handler. The server checks that the peer is
// the same user, and ends streams by cancelling its base context; requests of browsers
// are refused here as well.
func NewHandler(cfg HandlerConfig) http.Handler {
	h := &handler{cfg}
	mux := http.NewServeMux()
	for path, allowed := range h.routes() {
		mux.Handle(path, allowed)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, http.StatusNotFound, "no such path on the control socket")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// No page can reach a unix socket by itself. But a program that forwards the socket to a
		// port would let every page answer prompts.
		if peer.IsBrowser(r.Header) {
			cfg.Log.Warn("refused a browser on the control socket")
			writeError(w, http.StatusForbidden, "requests from a browser are refused")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		mux.ServeHTTP(w, r)
	})
}

// routes are what docs/control-api.md promises.
func (h *handler) routes() map[string]methods {
	return map[string]methods{
		"/v1/status":              {http.MethodGet: h.status},
		"/v1/prompts":             {http.MethodGet: h.prompts},
		"/v1/prompts/{id}/answer": {http.MethodPost: h.answer},
		"/v1/prompts/{id}/deny":   {http.MethodPost: h.deny},
		"/v1/lock":                {http.MethodPost: h.lock},
		"/v1/rules/{rule}/lock":   {http.MethodPost: h.lockRule},
		"/v1/resume":              {http.MethodPost: h.resume},
		"/v1/events":              {http.MethodGet: h.events},
		"/v1/listeners":           {http.MethodGet: h.listeners, http.MethodPost: h.lease},
		"/v1/listeners/{id}":      {http.MethodDelete: h.release},
		"/v1/stepup":              {http.MethodPost: h.obtain},
		"/v1/explain":             {http.MethodPost: h.explain},
	}
}

// methods are the handlers of one path.
type methods map[string]http.HandlerFunc

func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if handle, ok := m[r.Method]; ok {
		handle(w, r)
		return
	}
	allowed := slices.Sorted(maps.Keys(m))
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	writeError(w, http.StatusMethodNotAllowed, "method not allowed, use "+strings.Join(allowed, " or "))
}

func (h *handler) status(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, h.Status(r.Context()).complete())
}

func (h *handler) prompts(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, promptList{completePrompts(h.Prompts.Pending())})
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		writeError(w, http.StatusRequestEntityTooLarge, "the body is larger than 64 KiB")
		return
	}
	var answer string
	if err == nil {
		answer, err = decodeAnswer(body)
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, `the body must be JSON like {"answer":"123456"}`)
		return
	}
	h.decided(w, h.Prompts.Answer(r.PathValue("id"), answer))
}

func (h *handler) deny(w http.ResponseWriter, r *http.Request) {
	h.decided(w, h.Prompts.Deny(r.PathValue("id")))
}

// decided answers for a prompt that was, or was not, decided. The broker's error is
// neither passed on nor logged as text: the answer may be in it.
func (h *handler) decided(w http.ResponseWriter, err error) {
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, prompt.ErrUnknown):
		writeError(w, http.StatusNotFound, "no such question: it was answered, denied or has timed out")
	case errors.Is(err, prompt.ErrAnswer):
		writeError(w, http.StatusBadRequest, prompt.ErrAnswer.Error())
	default:
		writeError(w, http.StatusInternalServerError, wordsInternal)
	}
}

func (h *handler) lock(w http.ResponseWriter, r *http.Request) {
	// A client that asks for a lock and leaves still wants it: an interrupted client
	// must not leave half of the tokens alive.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), lockTimeout)
	defer cancel()
	result := h.Lock(ctx)
	result.Notes = notNil(result.Notes)
	writeJSON(w, result)
}

// lockRule is a call of its own: a lock of all must not come of a name that is left out.
func (h *handler) lockRule(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), lockTimeout)
	defer cancel()
	result, err := h.LockRule(ctx, r.PathValue("rule"))
	result.Notes = notNil(result.Notes)
	h.reply(w, "lock", result, err)
}

// resume unmutes rules that were denied, or not answered, too often. It is a call of
// its own: looking at prompts and junk answers are no wish to be asked.
func (h *handler) resume(w http.ResponseWriter, r *http.Request) {
	result, err := h.Resume(r.Context())
	if soon, ok := errors.AsType[*TooSoonError](err); ok {
		writeError(w, http.StatusConflict, soon.Error())
		return
	}
	h.reply(w, "resume", result, err)
}

func (h *handler) obtain(w http.ResponseWriter, r *http.Request) {
	var o Obtain
	if !decode(r, &o) || o.Rule == "" || o.Token == "" {
		writeError(w, http.StatusBadRequest, `the body must be JSON with "rule" and "token"`) // never what was read: it holds a token
		return
	}
	got, err := h.Obtain(r.Context(), o)
	h.reply(w, "step-up", got, err)
}

func (h *handler) explain(w http.ResponseWriter, r *http.Request) {
	var x Explain
	if !decode(r, &x) || x.Path == "" {
		writeError(w, http.StatusBadRequest, `the body must be JSON with "path"`) // never what was read: it holds a token
		return
	}
	e, err := h.Explain(r.Context(), x)
	h.reply(w, "explanation", e.Complete(), err)
}

func (h *handler) listeners(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, listenerList{notNil(h.Leases.Listeners())})
}

// lease keeps the request open for as long as the listener is.
func (h *handler) lease(w http.ResponseWriter, r *http.Request) {
	var wanted Wanted
	if json.NewDecoder(r.Body).Decode(&wanted) != nil || !slices.Contains([]string{"", "tcp", "unix"}, wanted.Network) {
		writeError(w, http.StatusBadRequest, `the body must be JSON like {"vault":"corp","network":"tcp"}, or with "unix"`)
		return
	}
	lease, err := h.Leases.Lease(r.Context(), wanted)
	if err != nil {
		h.reply(w, "a private listener", nil, err)
		return
	}
	defer h.Leases.Release(lease.ID)
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // a recorder of a test has none
	writeJSON(w, lease)
	if rc.Flush() != nil {
		return
	}
	select {
	case <-r.Context().Done():
	case <-lease.Done:
	}
}

func (h *handler) release(w http.ResponseWriter, r *http.Request) {
	if !h.Leases.Release(r.PathValue("id")) {
		writeError(w, http.StatusNotFound, "no such listener: it has ended")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// events streams until the client leaves, the broker drops it or the server's
// base context ends.
func (h *handler) events(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream := h.Prompts.Watch(ctx, r.URL.Query().Get("attach") == "true")
	showsSecrets := r.URL.Query().Get("enrolment") == "true"
	w.Header().Set("Content-Type", "application/x-ndjson")
	if writeEvent(w, eventLine{Event: prompt.Event{Time: time.Now().UTC(), Type: Watching}}) != nil {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case e, open := <-stream:
			if !open {
				return
			}
			e.Request = completePrompt(e.Request)
			line := eventLine{Event: e}
			if showsSecrets {
				line.Enrolment = newEnrolment(e.Request.Enrolment)
			}
			if writeEvent(w, line) != nil {
				return
			}
		}
	}
}

// writeEvent sends one line at once. A client that is stopped, but not gone, is
// left behind by the deadline.
func writeEvent(w http.ResponseWriter, e eventLine) error {
	rc := http.NewResponseController(w)
	if err := rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if err := json.NewEncoder(w).Encode(e); err != nil {
		return err
	}
	return rc.Flush()
}

// decode reads a body and reports whether it is JSON for to.
func decode(r *http.Request, to any) bool {
	raw, err := io.ReadAll(r.Body)
	return err == nil && json.Unmarshal(raw, to) == nil
}

// wordsInternal says nothing of the error, which may hold a secret.
const wordsInternal = "the agent could not do it, see its log"

// reply writes v, or what a client may know of err. The log has the rest.
func (h *handler) reply(w http.ResponseWriter, what string, v any, err error) {
	if err == nil {
		writeJSON(w, v)
		return
	}
	for known, status := range map[error]int{
		ErrNoVault: http.StatusNotFound, ErrNoRule: http.StatusNotFound, ErrNoPath: http.StatusBadRequest,
		ErrNoPeer: http.StatusForbidden, ErrHeaderGrant: http.StatusConflict,
		ErrProgramScope: http.StatusUnprocessableEntity,
	} {
		if errors.Is(err, known) {
			writeError(w, status, known.Error())
			return
		}
	}
	h.Log.Error(what+" over the control socket failed", "error", err)
	writeError(w, http.StatusInternalServerError, wordsInternal)
}

func writeError(w http.ResponseWriter, status int, text string) {
	write(w, status, errorBody{[]string{text}})
}

func writeJSON(w http.ResponseWriter, v any) { write(w, http.StatusOK, v) }

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that has left reads no error
}

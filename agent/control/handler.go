package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

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
	// somebody there will answer.
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

// HandlerConfig is what the control socket gives access to.
type HandlerConfig struct {
	Prompts Broker
	// Status collects the status; it may take some seconds.
	Status func(context.Context) Status
	// Lock forgets and revokes all tokens and cancels all prompts. Its context
	// does not end with the client.
	Lock func(context.Context) (LockResult, error)
	// Resume ends the silence of rules; nil has no such route. It fails with a
	// *TooSoonError.
	Resume func(context.Context) (Resumed, error)
	// Leases opens listeners for one command each; nil has no such routes.
	Leases Leaser
	// Obtain steps up before a request needs it; nil has no such route. It fails
	// with ErrNoVault, ErrNoRule or ErrHeaderGrant; a person's no is no error.
	Obtain func(context.Context, Obtain) (Obtained, error)
	// Explain tells what would happen to a request; nil has no such route. It fails
	// with ErrNoVault or ErrNoPath.
	Explain func(context.Context, Explain) (Explanation, error)
	Log     *slog.Logger // nil discards
}

type handler struct {
	HandlerConfig
}

// NewHandler returns the control socket's handler. Whoever serves it checks that
// the peer is the same user, and ends its streams by cancelling the server's
// base context; requests of browsers are refused here as well.
func NewHandler(cfg HandlerConfig) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	h := &handler{cfg}
	mux := http.NewServeMux()
	mux.Handle("/v1/status", only(http.MethodGet, h.status))
	mux.Handle("/v1/prompts", only(http.MethodGet, h.prompts))
	mux.Handle("/v1/prompts/{id}/answer", only(http.MethodPost, h.answer))
	mux.Handle("/v1/prompts/{id}/deny", only(http.MethodPost, h.deny))
	mux.Handle("/v1/lock", only(http.MethodPost, h.lock))
	mux.Handle("/v1/events", only(http.MethodGet, h.events))
	if cfg.Resume != nil {
		mux.Handle("/v1/resume", only(http.MethodPost, h.resume))
	}
	if cfg.Leases != nil {
		mux.HandleFunc("/v1/listeners", h.listeners)
		mux.Handle("/v1/listeners/{id}", only(http.MethodDelete, h.release))
	}
	if cfg.Obtain != nil {
		mux.Handle("/v1/stepup", only(http.MethodPost, h.obtain))
	}
	if cfg.Explain != nil {
		mux.Handle("/v1/explain", only(http.MethodPost, h.explain))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, http.StatusNotFound, wordsNoRoute)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fromBrowser(r.Header) {
			cfg.Log.Warn("refused a browser on the control socket")
			writeError(w, http.StatusForbidden, wordsBrowser)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		mux.ServeHTTP(w, r)
	})
}

// fromBrowser reports whether a web page made the request. No page can reach a
// unix socket by itself, but anything that forwards one to a port lets every page
// answer prompts; browsers add these headers and pages cannot take them away.
func fromBrowser(h http.Header) bool {
	for name := range h {
		if name == "Origin" || name == "Referer" || strings.HasPrefix(name, "Sec-Fetch-") {
			return true
		}
	}
	return false
}

func only(method string, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			w.Header().Set("Allow", method)
			writeError(w, http.StatusMethodNotAllowed, fmt.Sprintf(wordsMethod, method))
			return
		}
		next(w, r)
	})
}

func (h *handler) status(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, h.Status(r.Context()).complete())
}

func (h *handler) prompts(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, promptList{NewPrompts(h.Prompts.Pending())})
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		writeError(w, http.StatusRequestEntityTooLarge, wordsTooLarge)
		return
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, wordsBadBody)
		return
	}
	answer, err := decodeAnswer(body)
	if err != nil {
		writeError(w, http.StatusBadRequest, wordsBadBody)
		return
	}
	h.decided(w, h.Prompts.Answer(r.PathValue("id"), answer))
}

func (h *handler) deny(w http.ResponseWriter, r *http.Request) {
	h.decided(w, h.Prompts.Deny(r.PathValue("id")))
}

// decided answers for a prompt that was, or was not, decided. The broker's error
// is not passed on as text: only it knows whether the answer is in there.
func (h *handler) decided(w http.ResponseWriter, err error) {
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, prompt.ErrUnknown):
		writeError(w, http.StatusNotFound, wordsUnknown)
	case errors.Is(err, prompt.ErrAnswer):
		writeError(w, http.StatusBadRequest, prompt.ErrAnswer.Error())
	default:
		writeError(w, http.StatusInternalServerError, wordsInternal)
	}
}

func (h *handler) lock(w http.ResponseWriter, r *http.Request) {
	// Whoever asks for a lock and leaves still wants it: an interrupted client
	// must not leave half of the tokens alive.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), lockTimeout)
	defer cancel()
	result, err := h.Lock(ctx)
	if err != nil {
		h.Log.Error("lock over the control socket failed", "error", err)
		writeError(w, http.StatusInternalServerError, wordsInternal)
		return
	}
	result.Notes = notNil(result.Notes)
	writeJSON(w, http.StatusOK, result)
}

// events streams until the client leaves, the broker drops it or the server's
// base context ends.
func (h *handler) events(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream := h.Prompts.Watch(ctx, r.URL.Query().Get("attach") == "true")
	draws := r.URL.Query().Get("enrolment") == "true"
	w.Header().Set("Content-Type", "application/x-ndjson")
	if writeEvent(w, eventLine{Event: Event{Time: time.Now().UTC(), Type: Watching}}) != nil {
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
			p := NewPrompt(e.Request)
			line := eventLine{Event: Event{Time: e.Time, Type: e.Type, Prompt: &p}}
			if draws {
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

func writeError(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, errorBody{[]string{text}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client left: nobody to tell
}

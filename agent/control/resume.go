package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Resumed is the answer of POST /v1/resume.
type Resumed struct {
	Rules int `json:"rules"` // that are asked about again; 0 when none was silent
}

// A TooSoonError refuses a resume: there was one a moment ago.
type TooSoonError struct {
	Wait time.Duration // until the next one counts
}

func (e *TooSoonError) Error() string {
	return fmt.Sprintf(wordsTooSoon, e.Wait.Round(time.Second))
}

// resume ends the silence of rules that were denied, or not answered, too often. It
// is a call of its own: looking at prompts and junk answers are no wish to be asked.
func (h *handler) resume(w http.ResponseWriter, r *http.Request) {
	result, err := h.Resume(r.Context())
	if soon, ok := errors.AsType[*TooSoonError](err); ok {
		writeError(w, http.StatusConflict, soon.Error())
		return
	}
	if err != nil {
		h.Log.Error("resume over the control socket failed", "error", err)
		writeError(w, http.StatusInternalServerError, wordsInternal)
		return
	}
	writeJSON(w, http.StatusOK, result)
}

// Resume ends the silence of rules.
func (c *Client) Resume(ctx context.Context) (Resumed, error) {
	var r Resumed
	err := c.call(ctx, route{http.MethodPost, "/v1/resume"}, nil, &r)
	return r, err
}

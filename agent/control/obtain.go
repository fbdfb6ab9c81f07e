package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/vault-stepup/stepup/cache/secret"
)

// An Obtain asks for a step-up token before any request needs it: POST
// /v1/stepup {"rule","vault","namespace","token"}. The answer comes when the
// person has decided. The token is the caller's own; it is in the body of this one
// request, on a socket that only its owner may use, and nowhere else.
type Obtain struct {
	Rule      string
	Vault     string // "" is the only one
	Namespace string // "" is the one of the vault block
	Token     secret.Secret
}

// An Obtained is how it went.
type Obtained struct {
	Outcome string `json:"outcome"` // a word of the Stepup-Outcome header
	Message string `json:"message"` // for the person; "" when the outcome is a yes
}

// OK reports whether the token is there.
func (o Obtained) OK() bool { return o.Outcome == "approved" || o.Outcome == "cached" }

type obtainBody struct {
	Rule      string `json:"rule"`
	Vault     string `json:"vault"`
	Namespace string `json:"namespace"`
	Token     string `json:"token"`
}

// Errors of an obtain.
var (
	// ErrNoRule: the vault has no rule of that name.
	ErrNoRule = errors.New("no such rule for this vault in the agent's configuration")
	// ErrHeaderGrant: the rule's factor, or the approval of others, goes with each
	// request, so nothing can be got beforehand.
	ErrHeaderGrant = errors.New("the rule has a header grant or none: each request is asked about by itself")
)

func (h *handler) obtain(w http.ResponseWriter, r *http.Request) {
	var b obtainBody
	raw, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(raw, &b) != nil || b.Rule == "" || b.Token == "" {
		writeError(w, http.StatusBadRequest, wordsBadObtain) // never what was read: it holds a token
		return
	}
	got, err := h.Obtain(r.Context(), Obtain{Rule: b.Rule, Vault: b.Vault, Namespace: b.Namespace, Token: secret.Secret(b.Token)})
	switch {
	case err == nil:
		writeJSON(w, http.StatusOK, got)
	case errors.Is(err, ErrNoVault):
		writeError(w, http.StatusNotFound, ErrNoVault.Error())
	case errors.Is(err, ErrNoRule):
		writeError(w, http.StatusNotFound, ErrNoRule.Error())
	case errors.Is(err, ErrHeaderGrant):
		writeError(w, http.StatusConflict, ErrHeaderGrant.Error())
	default:
		h.Log.Error("step-up over the control socket failed", "error", err)
		writeError(w, http.StatusInternalServerError, wordsInternal)
	}
}

// Obtain steps up to the token of a rule and blocks until the person has decided,
// or ctx ends. A no is no error. The error wraps ErrNoRule where there is no such
// rule or vault, and ErrHeaderGrant.
func (c *Client) Obtain(ctx context.Context, o Obtain) (Obtained, error) {
	var got Obtained
	err := c.call(ctx, route{http.MethodPost, "/v1/stepup"},
		obtainBody{Rule: o.Rule, Vault: o.Vault, Namespace: o.Namespace, Token: o.Token.Reveal()}, &got)
	if refusal, ok := errors.AsType[*Error](err); ok {
		switch refusal.Status {
		case http.StatusNotFound:
			refusal.cause = ErrNoRule
		case http.StatusConflict:
			refusal.cause = ErrHeaderGrant
		}
	}
	return got, err
}

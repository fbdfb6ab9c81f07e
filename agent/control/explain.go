package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/vault-stepup/stepup/cache/secret"
)

// An Explain asks what would happen to a request: POST /v1/explain
// {"path","operation","namespace","vault","token"}. The token is the caller's own,
// "" for none; it is in the body of this one request and nowhere else.
type Explain struct {
	Path      string // as for a request, without /v1/; cleaned by the agent
	Operation string // a capability word; "" is read
	Namespace string // "" is the one of the vault block
	Vault     string // "" is the only one
	Token     secret.Secret
}

// An Explanation is the answer. Without an agent it can be made from a
// configuration, less what only an agent or Vault knows.
type Explanation struct {
	Agent     bool   `json:"agent"` // it comes from a running agent
	Vault     string `json:"vault"`
	Namespace string `json:"namespace"` // of header and path together, where that is known
	Path      string `json:"path"`      // as Vault would check it there
	Operation string `json:"operation"`

	Rules     []RuleReason `json:"rules"`     // of this vault, in file order
	Rule      string       `json:"rule"`      // the one that is taken; "" for none
	Preflight bool         `json:"preflight"` // it is taken for the sake of the path behind sys/internal/ui/mounts/
	KeptOnly  bool         `json:"kept_only"` // so, but only with a token that is there: the rule does not cover that path itself
	Nearby    string       `json:"nearby"`    // a path with a rule that may be meant; ""
	Login     bool         `json:"login"`     // a login, which is completed where Vault holds it
	Methods   []Method     `json:"methods"`   // of the rule, and of its Sentinel policies
	Grant     Grant        `json:"grant"`     // of the rule

	Caller            string   `json:"caller"`             // short HMAC of the token; "" without one
	Capabilities      []string `json:"capabilities"`       // of the token, by sys/capabilities-self
	CapabilitiesError string   `json:"capabilities_error"` // why they are not known
	Granted           bool     `json:"granted"`            // they allow the operation

	Cached  *Token `json:"cached"`  // the step-up token that would be used; null for none
	Paused  string `json:"paused"`  // why nobody would be asked now; ""
	Waiting bool   `json:"waiting"` // requests of this caller wait for an approval
}

// A RuleReason is a rule and what it has to do with the request: matches, shadowed
// (by an earlier one), path, namespace or capabilities.
type RuleReason struct {
	Rule
	Why string `json:"why"`
}

// A Method is an mfa_method block.
type Method struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Passcode bool   `json:"passcode"` // false: Vault pushes
	OrPush   bool   `json:"or_push"`  // the person chooses between a code and a push
}

// A Grant is how a rule's factor becomes an answer.
type Grant struct {
	Kind         string `json:"kind"` // header, token or login; "" where only others approve
	Path         string `json:"path"` // of a token or login grant
	Eager        bool   `json:"eager"`
	AsksFirst    bool   `json:"asks_first"`    // header: the person is asked before the request is sent
	ControlGroup string `json:"control_group"` // as in Rule
	Approvers    string `json:"approvers"`
}

// ErrNoPath: the text names no path of Vault's API, or the operation is none.
var ErrNoPath = errors.New("this is no path of Vault's API, or no operation")

type explainBody struct {
	Path      string `json:"path"`
	Operation string `json:"operation"`
	Namespace string `json:"namespace"`
	Vault     string `json:"vault"`
	Token     string `json:"token"`
}

func (h *handler) explain(w http.ResponseWriter, r *http.Request) {
	var b explainBody
	raw, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(raw, &b) != nil || b.Path == "" {
		writeError(w, http.StatusBadRequest, wordsBadExplain) // never what was read: it holds a token
		return
	}
	e, err := h.Explain(r.Context(), Explain{Path: b.Path, Operation: b.Operation, Namespace: b.Namespace, Vault: b.Vault, Token: secret.Secret(b.Token)})
	switch {
	case err == nil:
		writeJSON(w, http.StatusOK, e.Complete())
	case errors.Is(err, ErrNoVault):
		writeError(w, http.StatusNotFound, ErrNoVault.Error())
	case errors.Is(err, ErrNoPath):
		writeError(w, http.StatusBadRequest, ErrNoPath.Error())
	default:
		h.Log.Error("explanation over the control socket failed", "error", err)
		writeError(w, http.StatusInternalServerError, wordsInternal)
	}
}

// Complete makes every list of e a list in JSON.
func (e Explanation) Complete() Explanation {
	e.Methods, e.Capabilities = notNil(e.Methods), notNil(e.Capabilities)
	rules := make([]RuleReason, 0, len(e.Rules))
	for _, r := range e.Rules {
		r.Paths, r.Capabilities, r.Methods = notNil(r.Paths), notNil(r.Capabilities), notNil(r.Methods)
		rules = append(rules, r)
	}
	e.Rules = rules
	return e
}

// Explain tells what would happen to a request. It may ask Vault, which takes some
// seconds at most. The error wraps ErrNoVault or ErrNoPath.
func (c *Client) Explain(ctx context.Context, x Explain) (Explanation, error) {
	var e Explanation
	err := c.call(ctx, route{http.MethodPost, "/v1/explain"},
		explainBody{Path: x.Path, Operation: x.Operation, Namespace: x.Namespace, Vault: x.Vault, Token: x.Token.Reveal()}, &e)
	if refusal, ok := errors.AsType[*Error](err); ok {
		switch refusal.Status {
		case http.StatusNotFound:
			refusal.cause = ErrNoVault
		case http.StatusBadRequest:
			refusal.cause = ErrNoPath
		}
	}
	return e, err
}

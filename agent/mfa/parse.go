package mfa

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits of a challenge. Vault's own are far below: a larger one is hostile or not
// Vault's.
const (
	MaxBody        = 1 << 20 // bytes of an answer that is read to find a challenge
	maxConstraints = 64
	maxMethods     = 64
	maxName        = 512
)

// requirement is auth.mfa_requirement as it stands in the JSON of an answer.
// Every field is omitted when empty (sdk/logical/identity.pb.go).
type requirement struct {
	RequestID   string `json:"mfa_request_id"`
	Constraints map[string]struct {
		Any []Method `json:"any"`
	} `json:"mfa_constraints"`
}

// Parse reads the challenge out of the body of a 2xx answer. ok is false when
// the answer has none. An error means that there is one which cannot be met:
// truncated, too large, or without a method for each constraint.
func Parse(body []byte) (c Challenge, ok bool, err error) {
	if len(body) > MaxBody {
		return Challenge{}, false, fmt.Errorf("answer has more than %d bytes", MaxBody)
	}
	var answer struct {
		Auth *struct {
			Requirement *requirement `json:"mfa_requirement"`
		} `json:"auth"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return Challenge{}, false, errors.New("answer is not complete JSON")
	}
	if answer.Auth == nil || answer.Auth.Requirement == nil || answer.Auth.Requirement.RequestID == "" {
		return Challenge{}, false, nil
	}
	c, err = answer.Auth.Requirement.challenge()
	return c, err == nil, err
}

func (r *requirement) challenge() (Challenge, error) {
	switch n := len(r.Constraints); {
	case len(r.RequestID) > maxName:
		return Challenge{}, errors.New("mfa_request_id is too long")
	case n == 0:
		return Challenge{}, errors.New("mfa_constraints is empty")
	case n > maxConstraints:
		return Challenge{}, fmt.Errorf("%d constraints, more than %d", n, maxConstraints)
	}
	c := Challenge{RequestID: r.RequestID}
	for name, any := range r.Constraints {
		if err := checkConstraint(name, any.Any); err != nil {
			return Challenge{}, err
		}
		c.Constraints = append(c.Constraints, Constraint{Name: name, Any: any.Any})
	}
	// A JSON object has no order: sorted, so that the person is always asked in
	// the same one.
	slices.SortFunc(c.Constraints, func(a, b Constraint) int { return strings.Compare(a.Name, b.Name) })
	return c, nil
}

func checkConstraint(name string, methods []Method) error {
	switch n := len(methods); {
	case len(name) > maxName:
		return errors.New("name of a constraint is too long")
	case n == 0:
		return fmt.Errorf("constraint %q has no method", name)
	case n > maxMethods:
		return fmt.Errorf("constraint %q has %d methods, more than %d", name, n, maxMethods)
	}
	for _, m := range methods {
		if m.ID == "" || len(m.ID) > maxName || len(m.Name) > maxName || len(m.Type) > maxName {
			return fmt.Errorf("constraint %q has a method without a usable id", name)
		}
	}
	return nil
}

// ParseWrapped reads the body of a login that asked for a wrapped answer. Vault
// then wraps the challenge itself and shows nothing of it (http/logical.go,
// respondLogical). Only wrapped_accessor tells them apart: every finished
// login has one, except for batch tokens. maybe is set when the token must be
// unwrapped to know, which uses it up.
func ParseWrapped(body []byte) (token string, maybe bool) {
	var answer struct {
		Auth     json.RawMessage `json:"auth"`
		WrapInfo *struct {
			Token           string `json:"token"`
			WrappedAccessor string `json:"wrapped_accessor"`
		} `json:"wrap_info"`
	}
	if len(body) > MaxBody || json.Unmarshal(body, &answer) != nil || answer.WrapInfo == nil {
		return "", false
	}
	token = answer.WrapInfo.Token
	return token, token != "" && answer.WrapInfo.WrappedAccessor == "" && !filled(answer.Auth)
}

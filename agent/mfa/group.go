package mfa

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// MaxHeldAnswer is more than Vault's answer of a control group ever has: it is a
// few hundred bytes, and nothing of the caller's is in it but the path.
const MaxHeldAnswer = 16 << 10

// A ControlGroup is an answer that Vault gives out only when other people have
// approved the request: a wrapping token in the place of the data (Vault
// Enterprise; OpenBao). It looks like an answer that the caller wanted wrapped,
// so an answer to a request for wrapping must not be taken for this.
type ControlGroup struct {
	Token    string        // gives out the answer, once
	Accessor string        // names the token to approvers; letters, digits and ._- only
	TTL      time.Duration // of the token
	Path     string        // the request's, as Vault has it
}

// Format implements fmt.Formatter: the token is a secret.
func (g ControlGroup) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "control group %q for %q", g.Accessor, g.Path)
}

// maxGroupTTL keeps a life in seconds within a time.Duration, and within reason.
const maxGroupTTL = int64(366 * 24 * 60 * 60)

// ParseControlGroup reads the body of a 200. ok is false for every other answer:
// with data or a token in the clear, with a wrapped token (wrapped_accessor), or
// without a field that is needed to wait for it.
func ParseControlGroup(body []byte) (g ControlGroup, ok bool) {
	var answer struct {
		Data     json.RawMessage `json:"data"`
		Auth     json.RawMessage `json:"auth"`
		WrapInfo *struct {
			Token           string `json:"token"`
			Accessor        string `json:"accessor"`
			TTL             int64  `json:"ttl"`
			CreationPath    string `json:"creation_path"`
			WrappedAccessor string `json:"wrapped_accessor"`
		} `json:"wrap_info"`
	}
	if len(body) > MaxHeldAnswer || json.Unmarshal(body, &answer) != nil || answer.WrapInfo == nil {
		return ControlGroup{}, false
	}
	w := answer.WrapInfo
	switch {
	case filled(answer.Data), filled(answer.Auth), w.WrappedAccessor != "":
	case w.Token == "", w.CreationPath == "", w.TTL <= 0, w.TTL > maxGroupTTL:
	case len(w.Token) > MaxHeldAnswer/2, strings.ContainsFunc(w.Token, func(r rune) bool { return r <= ' ' || r > '~' }):
	case !plainAccessor(w.Accessor):
	default:
		return ControlGroup{Token: w.Token, Accessor: w.Accessor, TTL: time.Duration(w.TTL) * time.Second, Path: w.CreationPath}, true
	}
	return ControlGroup{}, false
}

// filled reports whether a member of an answer is there and not null.
func filled(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// plainAccessor takes only characters that accessors have. An accessor is shown in a
// command to paste into a shell, where other characters could be another command.
func plainAccessor(s string) bool {
	return s != "" && len(s) <= maxName && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	})
}

// Answers reports whether Vault made the wrapping token for a request with this
// path in this namespace. Vault leaves the namespace out of creation_path however
// the request named it. sys/wrapping/rewrap and the like answer with a token that
// was made for something else.
func (g ControlGroup) Answers(namespace, path string) bool {
	asked := strings.Trim(strings.Trim(namespace, "/")+"/"+strings.Trim(path, "/"), "/")
	made := strings.Trim(g.Path, "/")
	return made != "" && (asked == made || strings.HasSuffix(asked, "/"+made)) && !strings.HasPrefix(made, "sys/wrapping/")
}

// A GroupState is how far the approval of a request has come.
type GroupState struct {
	Approved  bool
	Requester string   // name of the entity whose request it is; "" when Vault does not say
	By        []string // names of the entities that have approved so far, at most 32
}

// maxApprovals bounds how many names are read.
const maxApprovals = 32

// ParseGroupState reads the answer of sys/control-group/request. ok is false for
// one that does not say whether the request is approved. The names in it are
// hostile until sanitised.
func ParseGroupState(body []byte) (s GroupState, ok bool) {
	type entity struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	var answer struct {
		Data *struct {
			Approved       *bool   `json:"approved"`
			RequestEntity  *entity `json:"request_entity"`
			Authorizations []struct {
				EntityID   string `json:"entity_id"`
				EntityName string `json:"entity_name"`
			} `json:"authorizations"`
		} `json:"data"`
	}
	if len(body) > MaxBody || json.Unmarshal(body, &answer) != nil || answer.Data == nil || answer.Data.Approved == nil {
		return GroupState{}, false
	}
	s.Approved = *answer.Data.Approved
	if e := answer.Data.RequestEntity; e != nil {
		s.Requester = named(e.Name, e.ID)
	}
	for _, a := range answer.Data.Authorizations[:min(len(answer.Data.Authorizations), maxApprovals)] {
		if name := named(a.EntityName, a.EntityID); name != "" {
			s.By = append(s.By, name)
		}
	}
	return s, true
}

// named is the name of an entity, else its ID, and never longer than a name is.
func named(name, id string) string {
	if name == "" {
		name = id
	}
	return strings.ToValidUTF8(name[:min(len(name), maxName)], "")
}

// FurtherApproval reports whether the body of an error of sys/wrapping/unwrap
// says that approvals are missing; the wrapping token then stays valid
// (sdk/logical/error.go, ErrMultiAuthzPending).
func FurtherApproval(body []byte) bool {
	return strings.Contains(strings.ToLower(reason(body)), "needs further approval")
}

// WrappingGone reports whether such a body says that the wrapping token is used,
// expired or revoked (sdk/helper/consts/error.go, ErrInvalidWrappingToken).
func WrappingGone(body []byte) bool {
	return strings.Contains(reason(body), "wrapping token is not valid or does not exist")
}

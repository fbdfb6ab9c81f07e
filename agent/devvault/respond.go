package devvault

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A response is a successful answer before it is written. A nil one is 204, or
// 404 for a read.
type response struct {
	status    int            // 0 means 200
	data      map[string]any // nil is null
	top       []string       // keys of data that sys routes repeat at the top level, in order
	auth      *authBlock
	wrap      *wrapBlock
	warnings  []string
	mountType string
	raw       any    // written as it is instead of the usual envelope
	body      []byte // likewise, already JSON
	stream    func(w http.ResponseWriter, r *request)
}

// envelope has the fields of Vault's JSON in Vault's order (sdk/logical, HTTPResponse).
type envelope struct {
	RequestID     string         `json:"request_id"`
	LeaseID       string         `json:"lease_id"`
	Renewable     bool           `json:"renewable"`
	LeaseDuration int            `json:"lease_duration"`
	Data          map[string]any `json:"data"`
	WrapInfo      *wrapBlock     `json:"wrap_info"`
	Warnings      []string       `json:"warnings"`
	Auth          *authBlock     `json:"auth"`
	MountType     string         `json:"mount_type"`
}

type authBlock struct {
	ClientToken   string            `json:"client_token"`
	Accessor      string            `json:"accessor"`
	Policies      []string          `json:"policies"`
	TokenPolicies []string          `json:"token_policies,omitempty"`
	Metadata      map[string]string `json:"metadata"`
	LeaseDuration int               `json:"lease_duration"`
	Renewable     bool              `json:"renewable"`
	EntityID      string            `json:"entity_id"`
	TokenType     string            `json:"token_type"`
	Orphan        bool              `json:"orphan"`
	Requirement   *requirementBlock `json:"mfa_requirement"`
	NumUses       int               `json:"num_uses"`
}

// Every field of a requirement is left out when empty, uses_passcode included.
type requirementBlock struct {
	RequestID   string              `json:"mfa_request_id,omitempty"`
	Constraints map[string]anyBlock `json:"mfa_constraints,omitempty"`
}

type anyBlock struct {
	Any []methodBlock `json:"any,omitempty"`
}

type methodBlock struct {
	Type         string `json:"type,omitempty"`
	ID           string `json:"id,omitempty"`
	UsesPasscode bool   `json:"uses_passcode,omitempty"`
	Name         string `json:"name,omitempty"`
	SelfEnrols   bool   `json:"self_enrollment_enabled,omitempty"`
}

type wrapBlock struct {
	Token           string `json:"token"`
	Accessor        string `json:"accessor"`
	TTL             int    `json:"ttl"`
	CreationTime    string `json:"creation_time"`
	CreationPath    string `json:"creation_path"`
	WrappedAccessor string `json:"wrapped_accessor,omitempty"`
}

func (r *response) envelope(id string) envelope {
	if r.wrap != nil {
		// Vault leaves the request ID, the warnings and everything else of a
		// wrapped answer inside the wrapping (http/logical.go, respondLogical).
		return envelope{WrapInfo: r.wrap}
	}
	return envelope{
		RequestID: id, Data: r.data, Warnings: r.warnings, Auth: r.auth, MountType: r.mountType,
	}
}

// respond writes an answer.
func respond(w http.ResponseWriter, r *request, resp *response) {
	switch {
	case resp == nil:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNoContent)
	case resp.stream != nil:
		resp.stream(w, r)
	case resp.raw != nil:
		writeJSON(w, http.StatusOK, encode(resp.raw))
	case resp.body != nil:
		writeJSON(w, max(resp.status, http.StatusOK), resp.body)
	case resp.status != 0:
		// An answer that brings its own status has no line end (respondRaw).
		writeJSON(w, resp.status, bytes.TrimRight(encode(resp.envelope(r.id)), "\n"))
	default:
		body := encode(resp.envelope(r.id))
		if resp.wrap == nil && len(resp.top) > 0 {
			body = injectTop(body, resp)
		}
		writeJSON(w, http.StatusOK, body)
	}
}

// injectTop repeats data at the top level, before the other fields, as Vault does
// for sys routes that are older than the envelope.
func injectTop(body []byte, resp *response) []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for _, key := range resp.top {
		b.Write(bytes.TrimRight(encode(key), "\n"))
		b.WriteByte(':')
		b.Write(bytes.TrimRight(encode(resp.data[key]), "\n"))
		b.WriteByte(',')
	}
	b.Write(body[1:])
	return b.Bytes()
}

// fail writes an error answer.
func fail(w http.ResponseWriter, err error) {
	f := (*fault)(nil)
	if !errors.As(err, &f) {
		f = refuse(http.StatusInternalServerError, "1 error occurred:\n\t* %v\n\n", err)
	}
	texts := f.texts
	if texts == nil {
		texts = []string{}
	}
	writeJSON(w, f.status, encode(struct {
		Errors []string `json:"errors"`
	}{texts}))
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client has left
}

// encode is one line of JSON, as json.Encoder writes it.
func encode(v any) []byte {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		panic("devvault: " + err.Error()) // only what we decoded or built is encoded
	}
	return b.Bytes()
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// multiError prints like hashicorp/go-multierror.
func multiError(texts ...string) string {
	head := "1 error occurred:"
	if len(texts) != 1 {
		head = strconv.Itoa(len(texts)) + " errors occurred:"
	}
	return head + "\n\t* " + strings.Join(texts, "\n\t* ") + "\n\n"
}

package devvault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An operation is a capability word; the empty one is a method that no policy
// grants (HEAD, OPTIONS).
type operation string

const (
	opNone   operation = ""
	opCreate operation = "create"
	opRead   operation = "read"
	opUpdate operation = "update"
	opPatch  operation = "patch"
	opDelete operation = "delete"
	opList   operation = "list"
	opScan   operation = "scan" // OpenBao's list of everything below
)

const maxBody = 32 << 20 // Vault's default max_request_size

// A request is what Vault makes of an HTTP request before it looks at a token.
type request struct {
	id      string
	ctx     context.Context // ends when the client leaves
	ns      *Namespace
	op      operation
	path    string // relative to ns, without /v1/; ends in "/" for a list and a scan
	data    map[string]any
	query   url.Values
	tokenID string
	wrap    time.Duration // 0 means not wrapped
	mfa     []credential

	token     *token           // set once the request is authorised
	group     *ControlGroup    // likewise; nil when no approval is needed
	checked   operation        // what was looked up for group
	validated map[string]error // what became of a factor of this request, by method
	validates *heldLogin       // set by sys/mfa/validate
}

// parse reads hr in the order of http/logical.go, so that the same request
// fails for the same reason.
func (s *Server) parse(w http.ResponseWriter, hr *http.Request) (*request, error) {
	r := &request{id: newUUID(), ctx: hr.Context(), query: hr.URL.Query()}
	r.path = strings.TrimPrefix(hr.URL.Path, "/v1/")
	header := hr.Header.Get("X-Vault-Namespace")
	if header != "" {
		w.Header().Set("X-Vault-Namespace", header)
	}
	if err := r.readOperation(w, hr, s.cfg.Flavor); err != nil {
		return nil, err
	}
	s.mu.Lock()
	err := s.enterLocked(r, header)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	r.tokenID = tokenOf(hr.Header)
	if r.wrap, err = parseWrapTTL(hr.Header.Get("X-Vault-Wrap-TTL")); err != nil {
		return nil, refuse(http.StatusBadRequest, textWrapHeader, err)
	}
	if r.mfa, err = parseMFA(hr.Header["X-Vault-Mfa"]); err != nil {
		return nil, refuse(http.StatusBadRequest, textMFAHeader, err)
	}
	return r, nil
}

// enterLocked finds the namespace of a request, which may be written in the header, at the front of
// the path, or half in each. The rest of the path is what policies and mounts see.
func (s *Server) enterLocked(r *request, header string) error {
	if s.cfg.Flavor == Community {
		r.ns = s.Namespace
		return nil
	}
	if s.cfg.Flavor == OpenBao && isRelative(r.path) {
		return refuse(http.StatusBadRequest, textRelative)
	}
	ns := canonical(header)
	r.ns, r.path = s.resolveLocked(ns + r.path)
	if s.cfg.Flavor == OpenBao && !strings.HasPrefix(r.ns.path, ns) {
		return refuse(http.StatusNotFound, textNoNamespace)
	}
	return nil
}

// isRelative reports whether a segment is a dot or two, which OpenBao refuses on every path. They
// come from a path that was escaped: others have been cleaned away.
func isRelative(path string) bool {
	return slices.ContainsFunc(strings.Split(path, "/"), func(s string) bool { return s == "." || s == ".." })
}

// canonical is a header's namespace with one slash, at its end; "" is the root.
func canonical(header string) string {
	clean := strings.Trim(path.Clean("/"+header), "/")
	if clean == "" || clean == "root" {
		return ""
	}
	return clean + "/"
}

// resolveLocked splits a path at the longest namespace that is declared. What is left
// of an undeclared one stays in the path, where no mount answers to it.
func (s *Server) resolveLocked(path string) (*Namespace, string) {
	best := s.Namespace
	for prefix, n := range s.state.namespaces {
		if strings.HasPrefix(path, prefix) && len(prefix) > len(best.path) {
			best = n
		}
	}
	return best, strings.TrimPrefix(path, best.path)
}

func (r *request) readOperation(w http.ResponseWriter, hr *http.Request, flavor Flavor) error {
	switch hr.Method {
	case http.MethodGet:
		if err := r.readOrList(flavor); err != nil {
			return err
		}
	case "LIST":
		r.op = opList
	case "SCAN":
		if flavor != OpenBao {
			return &fault{status: http.StatusMethodNotAllowed}
		}
		r.op = opScan
	case http.MethodPost, http.MethodPut:
		r.op = opUpdate
		return r.readBody(w, hr)
	case http.MethodPatch:
		r.op = opPatch
		kind, _, err := mime.ParseMediaType(hr.Header.Get("Content-Type"))
		if err != nil {
			return refuse(http.StatusBadRequest, "%v", err)
		}
		if kind != "application/merge-patch+json" {
			return refuse(http.StatusUnsupportedMediaType, textPatchType, kind)
		}
		return r.readBody(w, hr)
	case http.MethodDelete:
		r.op = opDelete
	case http.MethodHead, http.MethodOptions:
		r.op = opNone
	default:
		return &fault{status: http.StatusMethodNotAllowed}
	}
	if (r.op == opList || r.op == opScan) && !strings.HasSuffix(r.path, "/") {
		r.path += "/"
	}
	return nil
}

// readOrList is what the query of a GET makes of it.
func (r *request) readOrList(flavor Flavor) error {
	r.op = opRead
	for _, op := range []operation{opList, opScan} {
		v := r.query.Get(string(op))
		if v == "" || (op == opScan && flavor != OpenBao) {
			continue
		}
		asked, err := strconv.ParseBool(v)
		switch {
		case err != nil, asked && r.op != opRead: // not both
			return &fault{status: http.StatusBadRequest}
		case asked:
			r.op = op
		}
	}
	return nil
}

// readBody fills r.data from JSON, or from a form: `curl -d` says that it sends one
// even when it sends JSON, so the first byte decides (http/handler.go, isForm).
func (r *request) readBody(w http.ResponseWriter, hr *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, hr.Body, maxBody))
	if err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return refuse(http.StatusRequestEntityTooLarge, textBodyTooLarge)
		}
		return refuse(http.StatusBadRequest, "error reading data")
	}
	head := bytes.TrimLeft(body, " \t\r\n")
	if len(head) == 0 {
		return nil
	}
	kind, _, _ := mime.ParseMediaType(hr.Header.Get("Content-Type"))
	if kind == "application/x-www-form-urlencoded" && head[0] != '{' && head[0] != '[' {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return refuse(http.StatusBadRequest, "error parsing form data")
		}
		r.data = make(map[string]any)
		for k := range form {
			r.data[k] = form.Get(k)
		}
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&r.data); err != nil {
		return refuse(http.StatusBadRequest, textBadJSON, err)
	}
	return nil
}

// text is a string of the body, "" when it is missing or something else.
func (r *request) text(key string) string {
	switch v := r.data[key].(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	default:
		return ""
	}
}

// list is a list of strings, given as one or with commas.
func (r *request) list(key string) []string {
	switch v := r.data[key].(type) {
	case string:
		if v == "" {
			return nil
		}
		return strings.Split(v, ",")
	case []any:
		var out []string
		for _, e := range v {
			if t, ok := e.(string); ok {
				out = append(out, t)
			}
		}
		return out
	default:
		return nil
	}
}

// duration is seconds as a number, or a Go duration.
func (r *request) duration(key string) (time.Duration, error) {
	d, err := parseSeconds(r.text(key))
	if err != nil {
		return 0, refuse(http.StatusBadRequest, "%v", err)
	}
	return d, nil
}

// count is a whole number, 0 when it is missing.
func (r *request) count(key string) (int, error) {
	v := r.text(key)
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, refuse(http.StatusBadRequest, textBadField, key, err)
	}
	return n, nil
}

// strings is an object of strings, nil when it is missing or empty.
func (r *request) strings(key string) map[string]string {
	object, _ := r.data[key].(map[string]any)
	var out map[string]string
	for k, v := range object {
		if t, ok := v.(string); ok {
			if out == nil {
				out = make(map[string]string)
			}
			out[k] = t
		}
	}
	return out
}

// parseSeconds reads a number of seconds, a Go duration, or days with a "d".
func parseSeconds(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	if n, err := strconv.ParseInt(s, 10, 32); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseInt(days, 10, 32)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(s)
}

func parseWrapTTL(s string) (time.Duration, error) {
	d, err := parseSeconds(s)
	if err != nil {
		return 0, err
	}
	if d < 0 {
		return 0, errors.New(textWrapNegative)
	}
	return d, nil
}

func tokenOf(h http.Header) string {
	if t := h.Get("X-Vault-Token"); t != "" {
		return t
	}
	for _, line := range h["Authorization"] {
		if t, ok := strings.CutPrefix(line, "Bearer "); ok {
			return strings.TrimSpace(t)
		}
	}
	return ""
}

// A credential is one line of X-Vault-MFA; value is "" where the method stands alone. The relay has a
// type of its own for the same line: what one misreads, the other does not.
type credential struct{ method, value string }

// parseMFA reads the lines of X-Vault-MFA as http/handler.go does: empty lines
// do not count, a line without a colon names a method, the first colon parts name and
// value, and nothing is trimmed or split at commas.
func parseMFA(lines []string) ([]credential, error) {
	var out []credential
	for _, line := range lines {
		if line == "" {
			continue
		}
		name, value, found := strings.Cut(line, ":")
		switch {
		case found && name == "":
			return nil, errors.New(textMFANoName)
		case found && value == "":
			return nil, errors.New(textMFANoValue)
		}
		out = append(out, credential{method: name, value: value})
	}
	return out, nil
}

// byMethod groups credentials; a method that was only named has an empty, non-nil list.
func byMethod(lines []credential) map[string][]string {
	out := make(map[string][]string)
	for _, c := range lines {
		if out[c.method] == nil {
			out[c.method] = []string{}
		}
		if c.value != "" {
			out[c.method] = append(out[c.method], c.value)
		}
	}
	return out
}

// refuse is an error answer with one text.
func refuse(status int, format string, args ...any) *fault {
	return &fault{status: status, texts: []string{fmt.Sprintf(format, args...)}}
}

// A fault is an error answer. Without texts it is {"errors":[]}.
type fault struct {
	status int
	texts  []string
}

func (f *fault) Error() string {
	return fmt.Sprintf("status %d: %s", f.status, strings.Join(f.texts, "; "))
}

package policies

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
)

// Bounds of what is read: the server says how much there is.
const (
	maxNamespaces = 1000
	maxPolicies   = 10_000 // of each kind
	maxNotes      = 200
)

// A reader reads everything that rules are made of from one server.
type reader struct {
	client *vault.Client
	token  secret.Secret
	notes  []string
	more   int // notes that were left out
	source
}

// note keeps what a person should know of what was read, up to a limit.
func (r *reader) note(format string, args ...any) {
	if len(r.notes) < maxNotes {
		r.notes = append(r.notes, fmt.Sprintf(format, args...))
	} else {
		r.more++
	}
}

// read reads from namespace and all below it. What the token may not read becomes a
// note, if something else could be read.
func (r *reader) read(ctx context.Context, namespace string) error {
	r.methods = make(map[string]method)
	r.namespaces = []string{namespace}
	for i := 0; i < len(r.namespaces); i++ {
		if err := r.below(ctx, r.namespaces[i]); err != nil {
			return err
		}
	}
	r.named = len(r.namespaces) > 1 || namespace != ""
	for _, in := range r.namespaces {
		if err := r.readACL(ctx, in); err != nil {
			return err
		}
		for _, kind := range []string{"egp", "rgp"} {
			if err := r.readSentinel(ctx, in, kind); err != nil {
				return err
			}
		}
		r.readListedMethods(ctx, in)
	}
	r.readNamedMethods(ctx)
	return nil
}

// below adds the namespaces in one. A server without namespaces answers with 404 or 400.
func (r *reader) below(ctx context.Context, namespace string) error {
	found, err := r.client.List(ctx, r.token, namespace, "sys/namespaces")
	if err != nil {
		if r.unsupported(err) {
			return nil
		}
		return r.refused(err, "the namespaces of %q", namespace)
	}
	for _, name := range found.Keys {
		part := rule.Namespace(name) // "" for one that calls itself root, and would lead back here
		if part == "" || !rule.CanBeNamespace(name) || !rule.Writable(name) || len(r.namespaces) >= maxNamespaces {
			r.note("namespace %q is left out", name)
			continue
		}
		r.namespaces = append(r.namespaces, strings.TrimPrefix(namespace+"/"+part, "/"))
	}
	return nil
}

// refused makes a note of what the token may not read, and is err where it is something else.
func (r *reader) refused(err error, format string, args ...any) error {
	if status := (*vault.StatusError)(nil); !errors.As(err, &status) || status.Status != http.StatusForbidden {
		return err
	}
	r.note("this token may not read "+format, args...)
	return nil
}

// unsupported reports whether a server does not have what was asked for.
func (r *reader) unsupported(err error) bool {
	status := (*vault.StatusError)(nil)
	return errors.As(err, &status) && slices.Contains([]int{http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented}, status.Status)
}

func (r *reader) readACL(ctx context.Context, namespace string) error {
	const folder = "sys/policies/acl"
	found, err := r.client.List(ctx, r.token, namespace, folder)
	if err != nil {
		if namespace == r.namespaces[0] {
			return err // without policies there is nothing to say
		}
		return r.refused(err, "the policies of %q", namespace)
	}
	for _, name := range found.Keys {
		if name == "root" || len(r.acl) >= maxPolicies { // root has no text, and is asked for nothing
			continue
		}
		data, err := r.one(ctx, namespace, folder, name)
		if err != nil {
			return err
		}
		if text, ok := data["policy"].(string); ok {
			r.acl = append(r.acl, policyText{namespace: namespace, name: name, text: text})
		}
	}
	return nil
}

// one reads a thing that was listed; nil where it cannot be read.
func (r *reader) one(ctx context.Context, namespace, folder, name string) (map[string]any, error) {
	path, ok := vault.PathTo(folder, name)
	if !ok {
		r.note("%s/%s is no name", folder, name)
		return nil, nil
	}
	data, err := r.client.Read(ctx, r.token, namespace, path)
	if err != nil && r.unsupported(err) { // gone since it was listed
		return nil, nil
	}
	if err != nil {
		return nil, r.refused(err, "%s/%s", folder, name)
	}
	return data, nil
}

func (r *reader) readSentinel(ctx context.Context, namespace, kind string) error {
	folder := "sys/policies/" + kind
	found, err := r.client.List(ctx, r.token, namespace, folder)
	if err != nil {
		if r.unsupported(err) {
			return nil // no Vault Enterprise
		}
		return r.refused(err, "the Sentinel policies of %q", namespace)
	}
	for _, name := range found.Keys {
		if len(r.sentinel) >= maxPolicies {
			break
		}
		data, err := r.one(ctx, namespace, folder, name)
		if err != nil {
			return err
		}
		text, _ := data["policy"].(string)
		p := sentinelPolicy{namespace: namespace, name: name, methods: sentinelMethods(text)}
		if paths, ok := data["paths"].([]any); ok && kind == "egp" {
			for _, path := range paths {
				if s, ok := path.(string); ok {
					p.paths = append(p.paths, s)
				}
			}
		}
		r.sentinel = append(r.sentinel, p)
	}
	return nil
}

// sentinelMethods are the methods whose validity a Sentinel policy asks for.
func sentinelMethods(text string) (names []string) {
	text = regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*|#[^\n]*`).ReplaceAllString(text, "")
	for _, m := range regexp.MustCompile(`\bmfa\.methods(?:\.([\w-]+)|\["([^"\n]+)"\])\.valid\b`).FindAllStringSubmatch(text, -1) {
		names = rule.Join(names, []string{m[1] + m[2]})
	}
	return names
}

// readListedMethods takes the types from the lists that have them, of step-up MFA and of
// Login MFA. Neither needs to be there.
func (r *reader) readListedMethods(ctx context.Context, namespace string) {
	for _, folder := range []string{"sys/mfa/method", "identity/mfa/method"} {
		found, err := r.client.List(ctx, r.token, namespace, folder)
		if err != nil {
			continue
		}
		for key, info := range found.Info {
			name := key
			if text, ok := info["name"].(string); ok && text != "" {
				name = text
			}
			if _, known := r.methods[name]; !known {
				r.addMethod(name, info)
			}
		}
	}
}

func (r *reader) addMethod(name string, info map[string]any) {
	kind, _ := info["type"].(string)
	if !slices.Contains(kinds(), kind) {
		return
	}
	m := method{kind: kind}
	if digits, ok := info["digits"].(float64); ok && kind == "totp" && digits >= 4 && digits <= 10 {
		m.digits = int(digits)
	}
	r.methods[name] = m
}

// readNamedMethods asks for the methods that policies name and no list has: step-up MFA
// keeps each below its type, in the root namespace.
func (r *reader) readNamedMethods(ctx context.Context) {
	entries, _ := build(r.source)
	var names []string
	for _, b := range blocks(entries) {
		names = rule.Join(names, b.all())
	}
	for _, name := range names {
		for _, kind := range kinds() {
			path, ok := vault.PathTo("sys/mfa/method/"+kind, name)
			if _, known := r.methods[name]; known || !ok {
				break
			}
			if info, err := r.client.Read(ctx, r.token, "", path); err == nil && info != nil {
				info["type"] = kind
				r.addMethod(name, info)
			}
		}
	}
}

// unwrapped is the policy in what `vault policy read -format=json` and `vault read
// -format=json sys/policies/acl/…` print, and any other text as it is.
func unwrapped(text string) string {
	var answer struct {
		Policy string `json:"policy"`
		Data   struct {
			Policy string `json:"policy"`
		} `json:"data"`
	}
	if json.Unmarshal([]byte(text), &answer) != nil {
		return text
	}
	if answer.Data.Policy != "" {
		return answer.Data.Policy
	}
	if answer.Policy != "" {
		return answer.Policy
	}
	return text
}

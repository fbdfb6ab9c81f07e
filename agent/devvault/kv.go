package devvault

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A kvStore is a KV secrets engine, version 2.
type kvStore struct{ secrets map[string]*kvSecret }

// A kvSecret is one key; version n is versions[n-1].
type kvSecret struct{ versions []kvVersion }

type kvVersion struct {
	data      map[string]any
	created   time.Time
	deleted   time.Time // zero means not deleted
	destroyed bool
}

func (k *kvStore) put(key string, data map[string]any, now time.Time) *kvSecret {
	s := k.secrets[key]
	if s == nil {
		s = &kvSecret{}
		k.secrets[key] = s
	}
	s.versions = append(s.versions, kvVersion{data: data, created: now})
	return s
}

// version is number n, the newest for 0, nil when there is none.
func (s *kvSecret) version(n int) *kvVersion {
	if n == 0 {
		n = len(s.versions)
	}
	if n < 1 || n > len(s.versions) {
		return nil
	}
	return &s.versions[n-1]
}

// gone reports whether the data of a version cannot be read.
func (v *kvVersion) gone() bool { return v.destroyed || !v.deleted.IsZero() }

func (v *kvVersion) metadata(n int) map[string]any {
	return map[string]any{
		"created_time": rfc3339(v.created), "custom_metadata": nil,
		"deletion_time": kvTime(v.deleted), "destroyed": v.destroyed, "version": n,
	}
}

func (s *Server) kvLocked(r *request, m *mount, rest string) (*response, error) {
	area, key, _ := strings.Cut(rest, "/")
	switch {
	case area == "data" && key != "" && r.op != opList && r.op != opScan:
		return s.kvDataLocked(r, m.kv, key)
	case area == "metadata":
		return s.kvMetadataLocked(r, m.kv, key)
	case (area == "delete" || area == "undelete" || area == "destroy") && key != "" && r.op == opUpdate:
		return s.kvVersionsLocked(r, m.kv, rest)
	case rest == "config" && r.op == opRead:
		return &response{mountType: "kv", data: map[string]any{
			"cas_required": false, "delete_version_after": "0s", "max_versions": 0,
		}}, nil
	case rest == "data":
		return &response{status: http.StatusNotFound, warnings: []string{textKVRoot}}, nil
	default:
		return &response{status: http.StatusNotFound, warnings: []string{textKVInvalid}}, nil
	}
}

func (s *Server) kvDataLocked(r *request, k *kvStore, key string) (*response, error) {
	secret := k.secrets[key]
	switch r.op {
	case opRead:
		if secret == nil {
			return nil, nil
		}
		n, _ := strconv.Atoi(r.query.Get("version")) // anything else is the newest
		v := secret.version(n)
		if v == nil {
			return nil, nil
		}
		if n == 0 {
			n = len(secret.versions)
		}
		resp := &response{mountType: "kv", data: map[string]any{"data": v.data, "metadata": v.metadata(n)}}
		if v.gone() {
			resp.status, resp.mountType, resp.data["data"] = http.StatusNotFound, "", nil
		}
		return resp, nil
	case opUpdate:
		data, ok := r.data["data"].(map[string]any)
		if !ok {
			return nil, refuse(http.StatusBadRequest, textKVNoData)
		}
		return s.kvPutLocked(r, k, key, data)
	case opPatch:
		data, ok := r.data["data"].(map[string]any)
		if !ok {
			return nil, refuse(http.StatusBadRequest, textKVNoData)
		}
		if secret != nil && secret.version(0).gone() {
			n := len(secret.versions)
			return &response{status: http.StatusNotFound, data: secret.version(n).metadata(n)}, nil
		}
		if secret == nil {
			return &response{status: http.StatusNotFound, body: []byte{}}, nil
		}
		return s.kvPutLocked(r, k, key, mergePatch(secret.version(0).data, data))
	case opDelete:
		if secret != nil && !secret.version(0).gone() {
			secret.version(0).deleted = s.now()
		}
		return nil, nil
	default:
		return nil, refuse(http.StatusMethodNotAllowed, textUnsupported)
	}
}

func (s *Server) kvPutLocked(r *request, k *kvStore, key string, data map[string]any) (*response, error) {
	current := 0
	if secret := k.secrets[key]; secret != nil {
		current = len(secret.versions)
	}
	if options, ok := r.data["options"].(map[string]any); ok {
		if cas, ok := options["cas"].(json.Number); ok && cas.String() != strconv.Itoa(current) {
			return nil, refuse(http.StatusBadRequest, textKVCas)
		}
	}
	secret := k.put(key, data, s.now())
	n := len(secret.versions)
	return &response{mountType: "kv", data: secret.version(n).metadata(n)}, nil
}

func (s *Server) kvMetadataLocked(r *request, k *kvStore, key string) (*response, error) {
	switch r.op {
	case opList:
		return listing(k.secrets, key, "kv")
	case opScan:
		return scan(k.secrets, key)
	case opRead:
		secret := k.secrets[key]
		if secret == nil {
			return nil, nil
		}
		versions := make(map[string]any)
		for i, v := range secret.versions {
			versions[strconv.Itoa(i+1)] = map[string]any{
				"created_time": rfc3339(v.created), "deletion_time": kvTime(v.deleted), "destroyed": v.destroyed,
			}
		}
		return &response{mountType: "kv", data: map[string]any{
			"cas_required": false, "created_time": rfc3339(secret.version(1).created),
			"current_version": len(secret.versions), "custom_metadata": nil, "delete_version_after": "0s",
			"max_versions": 0, "oldest_version": 0, "updated_time": rfc3339(secret.version(0).created),
			"versions": versions,
		}}, nil
	case opDelete:
		delete(k.secrets, key)
		return nil, nil
	default:
		return nil, refuse(http.StatusMethodNotAllowed, textUnsupported)
	}
}

// kvVersionsLocked marks the versions of the body deleted, not deleted or destroyed.
func (s *Server) kvVersionsLocked(r *request, k *kvStore, rest string) (*response, error) {
	area, key, _ := strings.Cut(rest, "/")
	numbers, ok := r.data["versions"].([]any)
	if !ok || len(numbers) == 0 {
		return nil, refuse(http.StatusBadRequest, "no version number provided")
	}
	secret := k.secrets[key]
	if secret == nil {
		return nil, nil
	}
	for _, number := range numbers {
		// The CLI sends numbers, or texts with numbers in them.
		n, err := strconv.Atoi(fmt.Sprint(number))
		if err != nil || n == 0 || secret.version(n) == nil {
			continue
		}
		switch v := secret.version(n); area {
		case "delete":
			v.deleted = s.now()
		case "undelete":
			v.deleted = time.Time{}
		case "destroy":
			v.destroyed, v.data = true, nil
		}
	}
	return nil, nil
}

// listing is the keys and folders right below a folder.
func listing[V any](all map[string]V, folder, mountType string) (*response, error) {
	seen := make(map[string]bool)
	for key := range all {
		rest, ok := strings.CutPrefix(key, folder)
		if !ok {
			continue
		}
		name, _, isFolder := strings.Cut(rest, "/")
		if isFolder {
			name += "/"
		}
		seen[name] = true
	}
	if len(seen) == 0 {
		return nil, &fault{status: http.StatusNotFound}
	}
	keys := slices.Sorted(maps.Keys(seen))
	return &response{mountType: mountType, data: map[string]any{"keys": keys}}, nil
}

// scan is every key below a folder.
func scan(all map[string]*kvSecret, folder string) (*response, error) {
	var keys []string
	for key := range all {
		if rest, ok := strings.CutPrefix(key, folder); ok {
			keys = append(keys, rest)
		}
	}
	if len(keys) == 0 {
		return nil, &fault{status: http.StatusNotFound}
	}
	slices.Sort(keys)
	return &response{mountType: "kv", data: map[string]any{"keys": keys}}, nil
}

// mergePatch is RFC 7396 for objects: null removes a key.
func mergePatch(target, patch map[string]any) map[string]any {
	out := make(map[string]any, len(target))
	maps.Copy(out, target)
	for key, value := range patch {
		switch value := value.(type) {
		case nil:
			delete(out, key)
		case map[string]any:
			inner, _ := out[key].(map[string]any)
			out[key] = mergePatch(inner, value)
		default:
			out[key] = value
		}
	}
	return out
}

func sign(key, input string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(input)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append([]byte(key+"\x00"), raw...))
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}

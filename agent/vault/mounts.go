package vault

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// An AuthMount is an auth method that a server shows without a token.
type AuthMount struct {
	Path string // auth/userpass
	Type string // userpass
}

// maxMounts is more than a login page would show.
const maxMounts = 50

// parseAuthMounts reads an answer. A mount whose name has other characters than
// plain ones is left out: a server could break out of the file or the line that it is written to.
func parseAuthMounts(body []byte) (mounts []AuthMount, ok bool) {
	var answer struct {
		Data *struct {
			Auth map[string]struct {
				Type string `json:"type"`
			} `json:"auth"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Data == nil {
		return nil, false
	}
	for path, m := range answer.Data.Auth {
		if path = strings.Trim(path, "/"); plainName(path) && plainName(m.Type) {
			mounts = append(mounts, AuthMount{"auth/" + path, m.Type})
		}
	}
	slices.SortFunc(mounts, func(a, b AuthMount) int { return cmp.Compare(a.Path, b.Path) })
	return mounts[:min(len(mounts), maxMounts)], true
}

// plainName reports whether a name has only what a mount in use would have.
func plainName(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_./", r)
	})
}

// String is for messages.
func (m AuthMount) String() string { return fmt.Sprintf("%s (%s)", m.Path, m.Type) }

package factor

import (
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/prompt"
)

// Each origin that peer can tell has words of its own in a question.
func TestOriginHasWords(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, origin := range []peer.Origin{peer.OriginUser, peer.OriginReplaced, peer.OriginSandbox} {
		name := prompt.Requester{PID: 7, Exe: "/usr/bin/vault", Origin: prompt.Origin(origin)}.Name()
		if seen[name] || !strings.HasPrefix(name, "/usr/bin/vault (pid 7, ") || strings.Contains(name, "cannot be told") {
			t.Errorf("origin %q: %s", origin, name)
		}
		seen[name] = true
	}
}

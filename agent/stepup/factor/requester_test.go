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
	ended := Requester(peer.Peer{UID: 1000, Ended: true}).Name()
	if want := "an unknown program (the process that connected has ended)"; ended != want {
		t.Errorf("a process that has ended: %s, want %s", ended, want)
	}
}

// A question, and the verdict where none is asked, say why the program cannot be told.
func TestUntoldProgram(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		peer            peer.Peer
		allows, verdict string
	}{
		"hidden, TCP":         {peer.Peer{Hidden: true}, " (it hides its process; on the agent's unix socket it can be told)", "(it hides its process)"},
		"hidden, unix socket": {peer.Peer{PID: 7, Hidden: true}, " (it hides its file)", ""},
		"ended":               {peer.Peer{Ended: true}, " (the process that connected has ended)", "(the process that connected has ended)"},
		"unknown":             {peer.Peer{UID: 1000}, "", ""},
	} {
		if got := whyUnbound(tt.peer); got != tt.allows {
			t.Errorf("%s: the question says %q, want %q", name, got, tt.allows)
		}
		if got := notTold(tt.peer).Message; !strings.Contains(got, tt.verdict) || !strings.HasPrefix(got, "stepup: ") {
			t.Errorf("%s: the verdict says %q, want %q", name, got, tt.verdict)
		}
	}
}

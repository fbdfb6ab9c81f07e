package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/peer"
)

// stepup exec is not said to hide, as each process of ours does; any other caller is.
func TestObtainFromOurs(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		caller peer.Peer
		hidden bool
	}{
		"stepup exec":           {peer.Peer{PID: 7, Hidden: true, Chain: []string{"stepup", "bash"}}, false},
		"another that hides":    {peer.Peer{PID: 7, Hidden: true, Chain: []string{"vault", "stepup"}}, true},
		"no process":            {peer.Peer{Hidden: true, MayBe: []peer.Candidate{{PID: 7, Name: "stepup"}}}, true},
		"one that shows itself": {peer.Peer{PID: 7, Exe: "/usr/bin/curl", Chain: []string{"curl"}}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := peer.FromContext(asOurs(peer.NewContext(t.Context(), func() peer.Peer { return tt.caller })))
			want := tt.caller
			want.Hidden = tt.hidden
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

package control

import (
	"net"
	"testing"

	"github.com/vault-stepup/stepup/agent/pipe"
)

func listenAt(t *testing.T, socket string) net.Listener {
	t.Helper()
	l, err := pipe.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

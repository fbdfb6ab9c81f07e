//go:build unix

package main

import (
	"net"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestDoctorScript runs the command. $TAKEN is an address on which the test
// itself listens.
func TestDoctorScript(t *testing.T) {
	t.Parallel()
	runScripts(t, "doctor", nil, fakeSystemctl, func(env *testscript.Env) error {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		env.Defer(func() { _ = ln.Close() })
		env.Setenv("TAKEN", ln.Addr().String())
		env.Setenv("ADDRESS", ownAddress(os.Getpid(), 8101))
		return nil
	})
}

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
	testscript.Run(t, testscript.Params{
		Dir: "testdata/doctor", UpdateScripts: *update, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			if err := setUp(env); err != nil {
				return err
			}
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			env.Defer(func() { _ = ln.Close() })
			env.Setenv("TAKEN", ln.Addr().String())
			env.Setenv("ADDRESS", ownAddress(os.Getpid(), 8101))
			return fakeSystemctl(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "ready": ready},
	})
}

//go:build unix

package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
)

// keepTTY is set where a test has made a terminal for everything that it starts.
const keepTTY = "STEPUP_TEST_KEEP_TTY"

// appAddress is where the app of the scripts connects: VAULT_ADDR, else the
// first listener of the agent.
func appAddress() (string, error) {
	if address := os.Getenv("VAULT_ADDR"); address != "" {
		return address, nil
	}
	s, err := control.NewClient(filepath.Join(os.Getenv("STEPUP_RUNTIME_DIR"), agent.ControlSocket)).Status(context.Background())
	if err != nil {
		return "", err
	}
	return "http://" + s.Listeners[0].Address, nil
}

// waits FILE: the file is there.
func waits(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, args[0]+" is there", func() bool {
		_, err := os.Stat(ts.MkAbs(args[0]))
		return err == nil
	})
}

// refused FILE: no socket listens on the address in the file.
func refused(ts *testscript.TestScript, _ bool, args []string) {
	address := strings.TrimSpace(ts.ReadFile(args[0]))
	eventually(ts, "nobody listens on "+address, func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
		if err == nil {
			_ = c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}

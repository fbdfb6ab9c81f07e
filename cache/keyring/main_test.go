package keyring_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/cache/keyring"
)

const noExitSleep = "atexit_sleep_ms=0"

// TestMain also plays the helper process of the keyring, well and badly.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "child-") {
		os.Exit(child(os.Args[1], os.Args[2:]))
	}
	// A program with the race detector sleeps for a second at its end.
	_ = os.Setenv("GORACE", noExitSleep)
	os.Exit(m.Run())
}

func child(role string, args []string) int {
	switch role {
	case "child-serves":
		if err := keyring.Serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	case "child-reveals": // answers with all that others could see of it
		seen, _ := json.Marshal(strings.Join(append(os.Args, os.Environ()...), "\n"))
		fmt.Printf(`{"v":1,"status":"ok","value":%s}`, seen)
	case "child-answers":
		fmt.Print(args[0])
	case "child-mirrors": // a keyring whose error text repeats the secret
		line, _ := io.ReadAll(io.LimitReader(os.Stdin, 10))
		rest := make([]byte, 4096)
		n, _ := os.Stdin.Read(rest)
		text, _ := json.Marshal(string(line) + string(rest[:n]))
		fmt.Printf(`{"v":1,"status":"failed","why":%s}`, text)
	case "child-floods":
		for range 1 << 10 {
			fmt.Print(strings.Repeat("{", 1<<10))
		}
	case "child-kernel":
		value, err := keyring.Kernel{}.Get(context.Background(), args[0])
		if err != nil {
			return 1
		}
		fmt.Print(value.Reveal())
	case "child-crashes":
		return 3
	case "child-hangs": // with a child of its own, as security(1) is on macOS
		if err := exec.Command(os.Args[0], "child-holds", args[0]).Start(); err != nil {
			return 1
		}
		return hold(args[0])
	case "child-holds":
		return hold(args[0])
	}
	return 0
}

// hold connects to a socket, says that it is there and stays.
func hold(socket string) int {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return 1
	}
	_, _ = conn.Write([]byte("x"))
	_, _ = conn.Read(make([]byte, 1)) // nothing is ever written
	return 0
}

// asChild is a Command that runs this test binary in a role.
func asChild(role string, args ...string) []string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return append([]string{self, role}, args...)
}

//go:build unix

package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestManagerScript is the agent under a service manager: a stand-in that listens
// to what it is told ($NOTIFY), and systemd-socket-activate, which is real.
func TestManagerScript(t *testing.T) {
	t.Parallel()
	runScripts(t, "manager", commandTable{"hears": hears}, listenForNotices, func(env *testscript.Env) error {
		env.Setenv("ADDRESS", ownAddress(os.Getpid(), 8100))
		return nil
	})
}

// ownAddress is a loopback address that the tests of no other process use; each
// test has a port of its own.
func ownAddress(pid, port int) string {
	return fmt.Sprintf("127.%d.%d.%d:%d", 64+pid/250/250%128, pid/250%250, 1+pid%250, port)
}

type noticesKey struct{}

func listenForNotices(env *testscript.Env) error {
	path := filepath.Join(env.Getenv("STEPUP_RUNTIME_DIR"), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	env.Setenv("NOTIFY", path)
	env.Values[noticesKey{}] = conn
	env.Defer(func() { _ = conn.Close() })
	return nil
}

// hears REGEXP: the agent tells the service manager something that matches, now
// or later; what it tells before that is passed over.
func hears(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hears REGEXP")
	}
	wanted := regexp.MustCompile("(?s)" + args[0])
	conn := ts.Value(noticesKey{}).(*net.UnixConn)
	ts.Check(conn.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			ts.Fatalf("waited in vain for %q: %v", args[0], err)
		}
		ts.Logf("%q", buf[:n])
		if wanted.Match(buf[:n]) {
			return
		}
	}
}

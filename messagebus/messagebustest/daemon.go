package messagebustest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

// A Daemon is a real dbus-daemon with a folder of its own, which is the home of what runs
// beside it. It starts no program but those in the folder's services.
type Daemon struct {
	Dir     string
	Address string
	Env     []string // of it and of what runs beside it
	Process *os.Process
}

const config = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=%[1]s/bus</listen><auth>EXTERNAL</auth><servicedir>%[1]s/services</servicedir>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>`

// NewDaemon starts one with more environment than the usual.
func NewDaemon(t *testing.T, env ...string) *Daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "bus") // a socket's path has 108 bytes at most
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Mkdir(filepath.Join(dir, "services"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "bus.conf"), fmt.Appendf(nil, config, dir), 0o600))
	d := &Daemon{Dir: dir, Address: "unix:path=" + dir + "/bus"}
	d.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_DATA_HOME=" + dir + "/data", "XDG_CONFIG_HOME=" + dir + "/config",
		"XDG_CACHE_HOME=" + dir + "/cache", "XDG_RUNTIME_DIR=" + dir, "DBUS_SESSION_BUS_ADDRESS=" + d.Address,
	}, env...)
	d.Start(t)
	return d
}

// Start starts it again, once its Process was killed.
func (d *Daemon) Start(t *testing.T) {
	t.Helper()
	_ = os.Remove(filepath.Join(d.Dir, "bus")) // left by the one that was killed
	process, out := d.run(t, "", "dbus-daemon", "--nofork", "--print-address=1", "--config-file="+filepath.Join(d.Dir, "bus.conf"))
	d.Process = process
	_, err := out.ReadString('\n') // printed when it listens
	must(t, err)
}

// Connect returns a connection that is closed at the end of the test.
func (d *Daemon) Connect(t *testing.T, options ...dbus.ConnOption) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(d.Address, options...)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// run runs a program until the end of the test, which is skipped where there is none.
func (d *Daemon) run(t *testing.T, input, program string, args ...string) (*os.Process, *bufio.Reader) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip("needs " + program)
	}
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Stdin = d.Env, strings.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said: %s", program, stderr.String())
		}
	})
	return cmd.Process, bufio.NewReader(out)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

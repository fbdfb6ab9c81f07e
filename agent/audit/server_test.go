package audit_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/peer"
)

// A receiver is a server that takes datagrams.
type receiver struct {
	t    testing.TB
	path string
	conn *net.UnixConn
}

func newReceiver(t testing.TB) *receiver {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("needs datagrams on unix sockets")
	}
	dir, err := os.MkdirTemp("", "su") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{t: t, path: filepath.Join(dir, "log")}
	t.Cleanup(func() { r.stop(); _ = os.RemoveAll(dir) })
	r.start()
	return r
}

func (r *receiver) start() {
	r.t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: r.path, Net: "unixgram"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.conn = conn
}

func (r *receiver) stop() {
	_ = r.conn.Close() // may be closed already
	_ = os.Remove(r.path)
}

// next is the next datagram. It waits much longer than a busy machine needs.
func (r *receiver) next(t testing.TB) string {
	t.Helper()
	raw := make([]byte, 1<<20)
	_ = r.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	n, err := r.conn.Read(raw)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw[:n])
}

func open(t testing.TB, c audit.Config) *audit.Trail {
	t.Helper()
	trail, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = trail.Close() })
	return trail
}

// message is the form of RFC 5424: HEADER SP STRUCTURED-DATA SP MSG.
func message() *regexp.Regexp {
	return regexp.MustCompile(`^<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([!-~]{1,255}) stepup (\d+) ([!-~]{1,32}) - (\{[ -~]*\})$`)
}

// fields are those of a datagram in journald's own protocol.
func fields(t testing.TB, raw string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for raw != "" {
		name, rest, ok := strings.Cut(raw, "\n")
		if !ok || len(rest) < 8 {
			t.Fatalf("field %q", raw)
		}
		size := int(binary.LittleEndian.Uint64([]byte(rest[:8])))
		if len(rest) < 8+size+1 || rest[8+size] != '\n' {
			t.Fatalf("%s has no %d bytes in %q", name, size, rest)
		}
		all[name], raw = rest[8:8+size], rest[8+size+1:]
	}
	return all
}

// Each place gets the same line.
func TestTrail(t *testing.T) {
	t.Parallel()
	syslog, journal := newReceiver(t), newReceiver(t)
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	trail := open(t, audit.Config{File: file, Syslog: syslog.path, Journald: true, JournalSocket: journal.path})
	must(t, trail.Write(full()))
	raw, err := os.ReadFile(file)
	must(t, err)
	line := strings.TrimSuffix(string(raw), "\n")
	host, err := os.Hostname()
	must(t, err)
	want := []string{"85", "2026-03-04T05:06:07.890Z", host, strconv.Itoa(os.Getpid()), "approved", line}
	if m := message().FindStringSubmatch(syslog.next(t)); m == nil || !slices.Equal(m[1:], want) {
		t.Errorf("syslog got %q, want %q", m, want)
	}
	wantFields := map[string]string{
		"MESSAGE": line, "PRIORITY": "5", "SYSLOG_FACILITY": "10", "SYSLOG_IDENTIFIER": "stepup-audit", "STEPUP_EVENT": "approved", "STEPUP_RULE": "prod-kv",
	}
	if diff := cmp.Diff(wantFields, fields(t, journal.next(t))); diff != "" {
		t.Errorf("journal (-want +got):\n%s", diff)
	}
	must(t, trail.Write(audit.Record{Event: audit.Refused}))
	if got := syslog.next(t); !strings.HasPrefix(got, "<84>") {
		t.Errorf("a refusal is %q", got)
	}
}

func TestNoTrail(t *testing.T) {
	t.Parallel()
	trail, err := audit.Config{}.Open()
	if trail != nil || err != nil || trail.Write(full()) != nil || trail.Failure().Err != nil || trail.Close() != nil {
		t.Errorf("a trail of nothing: %v, %v", trail, err)
	}
	if _, err := (audit.Config{File: t.TempDir()}).Open(); err == nil {
		t.Error("a folder is opened")
	}
}

// A server that is away is said, also before the first record, and found again. The file
// has all records.
func TestServerIsAway(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.stop()
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	trail := open(t, audit.Config{File: file, Syslog: r.path})
	for lost := range 3 {
		if f := trail.Failure(); f.Err == nil || f.Place != "syslog" || f.Lost != lost || f.Since.IsZero() {
			t.Errorf("failure %+v, want %d lost", f, lost)
		}
		if err := trail.Write(full()); err == nil || !strings.Contains(err.Error(), r.path) {
			t.Errorf("error %v", err)
		}
	}
	r.start()
	for range 2 { // the second time it is started again
		must(t, trail.Write(full()))
		if f := trail.Failure(); f.Err != nil {
			t.Errorf("failure %+v", f)
		}
		r.next(t)
		r.stop()
		r.start()
	}
	if found, err := audit.Read(file); err != nil || len(found.Records) != 5 {
		t.Errorf("%d records in the file, %v", len(found.Records), err)
	}
}

// A server that reads nothing loses records; it does not stop the program.
func TestServerHangs(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("needs a system that lets the sender wait")
	}
	r := newReceiver(t)
	trail := open(t, audit.Config{Syslog: r.path})
	for range 10_000 { // more than any queue holds
		if err := trail.Write(full()); err != nil {
			if f := trail.Failure(); f.Place != "syslog" || f.Lost != 1 {
				t.Errorf("failure %+v", f)
			}
			return
		}
	}
	t.Error("a queue without an end")
}

// Whatever a program is called and asks for, it makes one message that every receiver takes,
// and one entry of the journal with the same fields; and it cannot keep itself out of either.
func FuzzServers(f *testing.F) {
	f.Add("rule", "kv/data/x", "vault")
	f.Add("a\nMESSAGE=b", strings.Repeat("\u202e", 2000), strings.Repeat("\x01", 2000))
	f.Add("é", "\xff", "<85>1 - - - - - -\n")
	syslog, journal := newReceiver(f), newReceiver(f)
	trail := open(f, audit.Config{Syslog: syslog.path, Journald: true, JournalSocket: journal.path})
	f.Fuzz(func(t *testing.T, rule, path, program string) {
		r := audit.Record{Event: audit.Denied, Rule: rule, Path: path, Requester: peer.Peer{PID: 7, Exe: program, Chain: slices.Repeat([]string{program}, 9)}}
		must(t, trail.Write(r))
		m := message().FindStringSubmatch(syslog.next(t))
		var got audit.Record
		if m == nil || len(m[0]) > 2048 || json.Unmarshal([]byte(m[6]), &got) != nil || got.Event != audit.Denied || got.Requester.PID != 7 {
			t.Errorf("message %q", m)
		}
		all := fields(t, journal.next(t))
		if len(all) != 6 || all["STEPUP_EVENT"] != "denied" || json.Unmarshal([]byte(all["MESSAGE"]), &got) != nil {
			t.Errorf("fields %q", all)
		}
		if short := len(rule) < 100 && len(path) < 100 && len(program) < 100; short && got.Path != strings.ToValidUTF8(path, "\ufffd") {
			t.Errorf("path %q became %q", path, got.Path)
		}
	})
}

// insideVariable says to a process of this test that it has a /run of its own.
const insideVariable = "STEPUP_TEST_INSIDE"

// TestJournald sends to a real journald, and reads it back by journalctl. It runs alone, as
// TestManyWriters does.
func TestJournald(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		insideNamespace(t)
		return
	}
	const journald, name = "/lib/systemd/systemd-journald", "steptest"
	runInBackground(t, journald, name)
	socket := "/run/systemd/journal." + name + "/socket"
	if !comes(func() bool { _, err := os.Stat(socket); return err == nil }) {
		t.Log("no journald can be started here, so only its protocol is checked")
		return
	}
	trail := open(t, audit.Config{Journald: true, JournalSocket: socket})
	r := full()
	r.Rule = "two\nlines"
	must(t, trail.Write(r))
	var entry struct {
		Message string `json:"MESSAGE"`
		Rule    string `json:"STEPUP_RULE"`
		Event   string `json:"STEPUP_EVENT"`
		PID     string `json:"_PID"`
	}
	if !comes(func() bool {
		out := output(t, "journalctl", "--namespace="+name, "-t", "stepup-audit", "-o", "json", "--no-pager")
		return json.Unmarshal(out, &entry) == nil
	}) {
		t.Fatal("the journal does not have the record")
	}
	var back audit.Record
	must(t, json.Unmarshal([]byte(entry.Message), &back))
	if diff := cmp.Diff(r, back); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	if entry.Rule != r.Rule || entry.Event != "approved" || entry.PID != fmt.Sprint(os.Getpid()) {
		t.Errorf("entry %+v", entry)
	}
}

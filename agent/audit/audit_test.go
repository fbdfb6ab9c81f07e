package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/peer"
)

// TestMain also plays a second process that writes to the same log.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "child-writes" {
		if err := writeMany(os.Args[2], os.Args[3], rotating()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const perWriter = 200

func writeMany(path, name string, o audit.Options) error {
	l, err := o.Open(path)
	if err != nil {
		return err
	}
	for i := range perWriter {
		if err := l.Write(audit.Record{Event: audit.Approved, Rule: name, DurationMS: int64(i)}); err != nil {
			return err
		}
	}
	return l.Close()
}

// rotating is small enough to rotate often, and keeps everything.
func rotating() audit.Options { return audit.Options{MaxSize: 4 << 10, Keep: 1000} }

func full() audit.Record {
	return audit.Record{
		Time: time.Date(2026, 3, 4, 5, 6, 7, 890_000_000, time.UTC), Event: audit.Approved, Rule: "prod-kv", Vault: "corp",
		Namespace: "team/a", Path: "kv/data/prod/db", Operation: "read", Method: "corp_totp",
		Requester:  peer.Peer{PID: 42, UID: 1000, Exe: "/usr/bin/terraform", Chain: []string{"terraform", "zsh"}},
		DurationMS: 1234, Token: "00ff",
	}
}

// Which programs a hidden one may have been is written as a guess, and read back.
func TestHiddenRequester(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	r := full()
	r.Requester = peer.Peer{UID: 1000, Hidden: true, MayBe: []peer.Candidate{{PID: 9, Name: "vault"}}}
	must(t, open(t, path, audit.Options{}).Write(r))
	raw, err := os.ReadFile(path)
	must(t, err)
	const want = `"requester":{"pid":0,"uid":1000,"exe":"","chain":[],"hidden":true,"may_be":[{"pid":9,"name":"vault"}]}`
	if !bytes.Contains(raw, []byte(want)) {
		t.Errorf("got %s", raw)
	}
	if got := read(t, path); len(got) != 1 || !reflect.DeepEqual(got[0].Requester, r.Requester) {
		t.Errorf("came back as %+v", got)
	}
}

func open(t *testing.T, path string, o audit.Options) *audit.Log {
	t.Helper()
	l, err := o.Open(path)
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// read returns the records of path, which must all be good.
func read(t *testing.T, path string) []audit.Record {
	t.Helper()
	var records []audit.Record
	for r, err := range audit.Read(path, time.Time{}) {
		if err != nil {
			t.Errorf("read: %v", err)
			continue
		}
		records = append(records, r)
	}
	return records
}

func TestLineIsTheContracts(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := open(t, path, audit.Options{})
	must(t, l.Write(full()))
	must(t, l.Write(audit.Record{Event: audit.Locked, Time: full().Time}))
	got, err := os.ReadFile(path)
	must(t, err)
	const want = `{"time":"2026-03-04T05:06:07.890Z","event":"approved","rule":"prod-kv","vault":"corp","namespace":"team/a",` +
		`"path":"kv/data/prod/db","operation":"read","method":"corp_totp",` +
		`"requester":{"pid":42,"uid":1000,"exe":"/usr/bin/terraform","chain":["terraform","zsh"]},"duration_ms":1234,"token":"00ff"}
{"time":"2026-03-04T05:06:07.890Z","event":"locked","rule":"","vault":"","namespace":"","path":"","operation":"","method":"",` +
		`"requester":{"pid":0,"uid":0,"exe":"","chain":[]},"duration_ms":0,"token":""}
`
	if string(got) != want {
		t.Errorf("got %s", got)
	}
	if records := read(t, path); !reflect.DeepEqual(records[0], full()) {
		t.Errorf("read back %+v", records[0])
	}
}

func TestTimeIsNow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		must(t, open(t, path, audit.Options{}).Write(audit.Record{Event: audit.Prompt}))
		if got := read(t, path)[0].Time; !got.Equal(time.Now()) {
			t.Errorf("time is %v", got)
		}
	})
}

func TestWriteRefusesAndCleans(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := open(t, path, audit.Options{})
	if err := l.Write(audit.Record{Event: "unheard"}); err == nil {
		t.Error("an unknown event is written")
	}
	if err := l.Write(audit.Record{Event: audit.Denied, Time: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}); err == nil {
		t.Error("the year 10000 is written")
	}
	for _, token := range []string{"hvs.CAESIJsecret", "s.secret", "root", "abc", strings.Repeat("ab", 33)} {
		must(t, l.Write(audit.Record{Event: audit.Denied, Token: token}))
	}
	hostile := "a\nb\x00\x1b[31m\x7f\u009b\u202e\u2028\U000e0041\"é\xff"
	must(t, l.Write(audit.Record{Event: audit.Denied, Path: hostile, Requester: peer.Peer{Chain: []string{hostile}}}))
	raw, err := os.ReadFile(path)
	must(t, err)
	if bytes.Contains(raw, []byte("secret")) || bytes.Contains(raw, []byte("root")) {
		t.Error("a token is written")
	}
	for _, r := range strings.ReplaceAll(string(raw), "\n", "") {
		if !strconv.IsPrint(r) {
			t.Errorf("%U is written", r)
		}
	}
	records := read(t, path)
	if last := records[len(records)-1]; last.Path != strings.ToValidUTF8(hostile, "\ufffd") || last.Requester.Chain[0] != last.Path {
		t.Errorf("read back %q", last.Path)
	}
	if records[0].Token != "[redacted]" {
		t.Errorf("token reads back as %q", records[0].Token)
	}
}

func TestLinesAreBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	long := strings.Repeat("\x01", 1<<20)
	r := audit.Record{
		Event: audit.Denied, Rule: long, Vault: long, Namespace: long, Path: long, Operation: long, Method: long, Token: long,
		Requester: peer.Peer{Exe: long, Chain: make([]string, 1000)},
	}
	for i := range r.Requester.Chain {
		r.Requester.Chain[i] = long
	}
	must(t, open(t, path, audit.Options{}).Write(r))
	info, err := os.Stat(path)
	must(t, err)
	if info.Size() > 256<<10 {
		t.Errorf("one record has %d bytes", info.Size())
	}
	if got := read(t, path)[0]; len(got.Path) > 1024 || !strings.HasSuffix(got.Path, "…") || len(got.Requester.Chain) != 32 {
		t.Errorf("path has %d bytes, %d in the chain", len(got.Path), len(got.Requester.Chain))
	}
}

func TestNilLog(t *testing.T) {
	t.Parallel()
	var l *audit.Log
	if err := errors.Join(l.Write(full()), l.Close()); err != nil {
		t.Error(err)
	}
}

func TestFileIsPrivate(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("needs file modes")
	}
	mode := func(path string) fs.FileMode {
		info, err := os.Lstat(path)
		must(t, err)
		return info.Mode().Perm()
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "state", "stepup", "audit.jsonl")
	open(t, path, audit.Options{})
	if mode(path) != 0o600 || mode(filepath.Dir(path)) != 0o700 || mode(filepath.Join(dir, "state")) != 0o700 {
		t.Errorf("modes are %v, %v", mode(path), mode(filepath.Dir(path)))
	}
	public := filepath.Join(dir, "public")
	must(t, os.WriteFile(public, nil, 0o644))
	must(t, os.Chmod(public, 0o644))
	open(t, public, audit.Options{})
	if mode(public) != 0o600 {
		t.Errorf("an existing file keeps mode %v", mode(public))
	}
	link := filepath.Join(dir, "link")
	must(t, os.Symlink(public, link))
	for name, path := range map[string]string{"a link": link, "a folder": dir} {
		if l, err := audit.Open(path); err == nil || l != nil {
			t.Errorf("%s is opened", name)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a file of another user")
	}
	foreign := filepath.Join(dir, "foreign")
	must(t, os.WriteFile(foreign, nil, 0o600))
	must(t, os.Chown(foreign, 65534, 65534))
	if _, err := audit.Open(foreign); err == nil {
		t.Error("a file of another user is opened")
	}
}

func TestTornLines(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	first := open(t, path, audit.Options{})
	must(t, first.Write(full()))
	must(t, first.Close())
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = file.WriteString(`{"time":"2026-`)
	must(t, errors.Join(err, file.Close()))
	if got := read(t, path); len(got) != 1 {
		t.Errorf("with a torn end %d records are read", len(got))
	}
	must(t, open(t, path, audit.Options{}).Write(full()))
	var good, bad int
	for _, err := range audit.Read(path, time.Time{}) {
		if err != nil {
			bad++
		} else {
			good++
		}
	}
	if good != 2 || bad != 1 {
		t.Errorf("%d good and %d bad lines, want 2 and 1", good, bad)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	for range audit.Read(path, time.Time{}) {
		t.Error("a log that is not there has a record")
	}
	l := open(t, path, audit.Options{MaxSize: 600})
	start := full().Time
	for i := range 6 {
		must(t, l.Write(audit.Record{Event: audit.Denied, Time: start.Add(time.Duration(i) * time.Hour), DurationMS: int64(i)}))
	}
	var got []int64
	for r, err := range audit.Read(path, start.Add(2*time.Hour)) {
		must(t, err)
		got = append(got, r.DurationMS)
		if r.DurationMS == 4 {
			break
		}
	}
	if !reflect.DeepEqual(got, []int64{2, 3, 4}) {
		t.Errorf("records are %v", got)
	}
}

func TestManyWriters(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	const processes, goroutines = 2, 4
	var group sync.WaitGroup
	for i := range processes {
		group.Go(func() {
			cmd := exec.Command(os.Args[0], "child-writes", path, fmt.Sprint("process-", i))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("second process: %v: %s", err, out)
			}
		})
	}
	shared := open(t, path, rotating())
	for i := range goroutines {
		group.Go(func() {
			for n := range perWriter {
				if err := shared.Write(audit.Record{Event: audit.Approved, Rule: fmt.Sprint("goroutine-", i), DurationMS: int64(n)}); err != nil {
					t.Errorf("write: %v", err)
				}
			}
		})
	}
	group.Wait()
	seen := map[string]map[int64]bool{}
	total := 0
	for _, r := range read(t, path) {
		if seen[r.Rule] == nil {
			seen[r.Rule] = map[int64]bool{}
		}
		seen[r.Rule][r.DurationMS] = true
		total++
	}
	if len(seen) != processes+goroutines || total != perWriter*(processes+goroutines) {
		t.Errorf("%d records of %d writers", total, len(seen))
	}
	for rule, numbers := range seen {
		if len(numbers) != perWriter {
			t.Errorf("%s: %d records", rule, len(numbers))
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add("approved", "rule", "kv/data/x", "/usr/bin/x", "00ff", int64(0), int64(1))
	f.Add("denied", "before the year 1", "", "", "", int64(-62135596800009), int64(0))
	f.Add("denied", "\x00\x1b\u202e", "\xff<&>", strings.Repeat("é", 600), "hvs.x", int64(-62135596800000), int64(-1))
	f.Fuzz(func(t *testing.T, event, rule, path, exe, token string, ms, duration int64) {
		r := audit.Record{
			Time: time.UnixMilli(ms).UTC(), Event: audit.Event(event), Rule: rule, Path: path,
			Requester: peer.Peer{PID: int(duration), Exe: exe, Chain: []string{exe, rule}}, DurationMS: duration, Token: token,
		}
		if r.Time.IsZero() {
			return // means now
		}
		name := filepath.Join(t.TempDir(), "audit.jsonl")
		l := open(t, name, audit.Options{})
		if l.Write(r) != nil {
			return
		}
		once := read(t, name)
		if len(once) != 1 {
			t.Fatalf("%d records", len(once))
		}
		got := once[0]
		for _, s := range []struct{ in, out string }{{rule, got.Rule}, {path, got.Path}, {exe, got.Requester.Exe}, {exe, got.Requester.Chain[0]}} {
			if len(s.in) <= 1024 && strings.ToValidUTF8(s.in, "") == s.in && s.in != s.out || len(s.out) > 1024 {
				t.Errorf("%q came back as %q", s.in, s.out)
			}
		}
		if !got.Time.Equal(r.Time) || got.Event != r.Event || got.DurationMS != duration || got.Requester.PID != int(duration) {
			t.Errorf("%+v came back as %+v", r, got)
		}
		// What was read is written as it is.
		must(t, l.Write(got))
		raw, err := os.ReadFile(name)
		must(t, err)
		lines := bytes.SplitAfter(raw, []byte("\n"))
		if len(lines) != 3 || !json.Valid(lines[0]) || token != got.Token && got.Token != "[redacted]" {
			t.Fatalf("log is %q", raw)
		}
		if got.Token == token && !bytes.Equal(lines[0], lines[1]) {
			t.Errorf("%q is written again as %q", lines[0], lines[1])
		}
	})
}

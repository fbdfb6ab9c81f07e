package audit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/ownership"
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

// A fixture is a log in a folder of its own.
type fixture struct {
	*audit.Log
	t    *testing.T
	path string
}

func newFixture(t *testing.T, o audit.Options) fixture {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "state", "audit.jsonl"), o)
}

func openAt(t *testing.T, path string, o audit.Options) fixture {
	t.Helper()
	l, err := o.Open(path)
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return fixture{l, t, path}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f fixture) write(records ...audit.Record) {
	f.t.Helper()
	for _, r := range records {
		must(f.t, f.Write(r))
	}
}

func (f fixture) raw() string {
	f.t.Helper()
	raw, err := os.ReadFile(f.path)
	must(f.t, err)
	return string(raw)
}

// read returns the records of all files of the log, oldest first, and what is none. A
// last line without its newline is left out.
func (f fixture) read() (records []audit.Record, bad []string) {
	f.t.Helper()
	files := []string{f.path}
	for i := 0; ; i++ {
		name := fmt.Sprint(f.path, ".", i)
		if _, err := os.Lstat(name); err == nil {
			files = append(files, name)
		} else if i > 0 {
			break
		}
	}
	for _, name := range slices.Backward(files) {
		raw, err := os.ReadFile(name)
		must(f.t, err)
		for line := range strings.Lines(string(raw)) {
			var r audit.Record
			if !strings.HasSuffix(line, "\n") {
				continue
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				bad = append(bad, line)
				continue
			}
			records = append(records, r)
		}
	}
	return records, bad
}

// records are those of read where there is nothing else.
func (f fixture) records() []audit.Record {
	f.t.Helper()
	records, bad := f.read()
	if len(bad) > 0 {
		f.t.Errorf("not records: %q", bad)
	}
	return records
}

func TestLineIsTheContracts(t *testing.T) {
	t.Parallel()
	hidden := full()
	hidden.Requester = peer.Peer{UID: 1000, Hidden: true, MayBe: []peer.Candidate{{PID: 9, Name: "vault"}}}
	const begin = `{"time":"2026-03-04T05:06:07.890Z","event":"approved","rule":"prod-kv","vault":"corp","namespace":"team/a",` +
		`"path":"kv/data/prod/db","operation":"read","method":"corp_totp","requester":`
	for name, tt := range map[string]struct {
		record audit.Record
		want   string
	}{
		"full": {full(), begin + `{"pid":42,"uid":1000,"exe":"/usr/bin/terraform","chain":["terraform","zsh"]},"duration_ms":1234,"token":"00ff"}`},
		"empty": {
			audit.Record{Event: audit.Locked, Time: full().Time},
			`{"time":"2026-03-04T05:06:07.890Z","event":"locked","rule":"","vault":"","namespace":"","path":"","operation":"","method":"",` +
				`"requester":{"pid":0,"uid":0,"exe":"","chain":[]},"duration_ms":0,"token":""}`,
		},
		"hidden: a guess stays marked as one": {
			hidden, begin + `{"pid":0,"uid":1000,"exe":"","chain":[],"hidden":true,"may_be":[{"pid":9,"name":"vault"}]},"duration_ms":1234,"token":"00ff"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, audit.Options{})
			f.write(tt.record)
			if diff := cmp.Diff(tt.want+"\n", f.raw()); diff != "" {
				t.Errorf("line (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]audit.Record{tt.record}, f.records(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("came back (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTimeIsNow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, audit.Options{})
		f.write(audit.Record{Event: audit.Prompt})
		if got := f.records()[0].Time; !got.Equal(time.Now()) {
			t.Errorf("time is %v", got)
		}
	})
}

func TestWriteRefusesAndCleans(t *testing.T) {
	t.Parallel()
	f := newFixture(t, audit.Options{})
	if err := f.Write(audit.Record{Event: "unheard"}); err == nil {
		t.Error("an unknown event is written")
	}
	if err := f.Write(audit.Record{Event: audit.Denied, Time: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}); err == nil {
		t.Error("the year 10000 is written")
	}
	for _, token := range []string{"hvs.CAESIJsecret", "s.secret", "root", "abc", strings.Repeat("ab", 33)} {
		f.write(audit.Record{Event: audit.Denied, Token: token})
	}
	hostile := "a\nb\x00\x1b[31m\x7f\u009b\u202e\u2028\U000e0041\"é\xff"
	f.write(audit.Record{Event: audit.Denied, Path: hostile, Requester: peer.Peer{Chain: []string{hostile}}})
	raw := f.raw()
	if strings.Contains(raw, "secret") || strings.Contains(raw, "root") {
		t.Error("a token is written")
	}
	for _, r := range strings.ReplaceAll(raw, "\n", "") {
		if !strconv.IsPrint(r) {
			t.Errorf("%U is written", r)
		}
	}
	records := f.records()
	if last := records[len(records)-1]; last.Path != strings.ToValidUTF8(hostile, "\ufffd") || last.Requester.Chain[0] != last.Path {
		t.Errorf("read back %q", last.Path)
	}
	if records[0].Token != "[redacted]" {
		t.Errorf("token reads back as %q", records[0].Token)
	}
}

func TestLinesAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t, audit.Options{})
	long := strings.Repeat("\x01", 1<<20)
	f.write(audit.Record{
		Event: audit.Denied, Rule: long, Vault: long, Namespace: long, Path: long, Operation: long, Method: long, Token: long,
		Requester: peer.Peer{Exe: long, Chain: slices.Repeat([]string{long}, 1000)},
	})
	if size := len(f.raw()); size > 256<<10 {
		t.Errorf("one record has %d bytes", size)
	}
	if got := f.records()[0]; len(got.Path) > 1024 || !strings.HasSuffix(got.Path, "…") || len(got.Requester.Chain) != 32 {
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
	openAt(t, path, audit.Options{})
	if mode(path) != 0o600 || mode(filepath.Dir(path)) != 0o700 || mode(filepath.Join(dir, "state")) != 0o700 {
		t.Errorf("modes are %v, %v", mode(path), mode(filepath.Dir(path)))
	}
	public := filepath.Join(dir, "public")
	must(t, os.WriteFile(public, nil, 0o644))
	must(t, os.Chmod(public, 0o644))
	openAt(t, public, audit.Options{})
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
	f := newFixture(t, audit.Options{})
	f.write(full())
	must(t, f.Close())
	file, err := os.OpenFile(f.path, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = file.WriteString(`{"time":"2026-`)
	must(t, errors.Join(err, file.Close()))
	openAt(t, f.path, audit.Options{}).write(full())
	if good, bad := f.read(); len(good) != 2 || len(bad) != 1 {
		t.Errorf("%d good and %d bad lines, want 2 and 1", len(good), len(bad))
	}
}

// It starts a process, and so runs alone: from fork to exec that process holds the lock of
// each rotation that is under way, and the rotation is put off.
func TestManyWriters(t *testing.T) {
	f := newFixture(t, rotating())
	const processes, goroutines = 2, 4
	var group sync.WaitGroup
	for i := range processes {
		group.Go(func() {
			cmd := exec.Command(os.Args[0], "child-writes", f.path, fmt.Sprint("process-", i))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("second process: %v: %s", err, out)
			}
		})
	}
	for i := range goroutines {
		group.Go(func() {
			for n := range perWriter {
				if err := f.Write(audit.Record{Event: audit.Approved, Rule: fmt.Sprint("goroutine-", i), DurationMS: int64(n)}); err != nil {
					t.Errorf("write: %v", err)
				}
			}
		})
	}
	group.Wait()
	seen := map[string]map[int64]bool{}
	records := f.records()
	for _, r := range records {
		if seen[r.Rule] == nil {
			seen[r.Rule] = map[int64]bool{}
		}
		seen[r.Rule][r.DurationMS] = true
	}
	if len(seen) != processes+goroutines || len(records) != perWriter*(processes+goroutines) {
		t.Errorf("%d records of %d writers", len(records), len(seen))
	}
	for rule, numbers := range seen {
		if len(numbers) != perWriter {
			t.Errorf("%s: %d records", rule, len(numbers))
		}
	}
}

// A log that cannot be written says since when and what is lost, until it can again.
func TestFailure(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	l := newFixture(t, audit.Options{Now: func() time.Time { return now }})
	folder := filepath.Dir(l.path)
	if f := l.Failure(); f.Err != nil {
		t.Fatalf("fails at once: %v", f.Err)
	}
	if runtime.GOOS == "windows" {
		t.Skip("an open file cannot be moved away there")
	}
	must(t, os.Rename(folder, folder+".away"))
	must(t, os.WriteFile(folder, nil, 0o600)) // where the folder was
	began := now
	for i := range 3 {
		if err := l.Write(full()); err == nil {
			t.Error("wrote nowhere")
		}
		now = now.Add(time.Minute)
		if f := l.Failure(); f.Err == nil || !f.Since.Equal(began) || f.Lost != i+1 {
			t.Errorf("failure is %+v, want %d lost since %v", f, i+1, began)
		}
	}
	must(t, os.Remove(folder))
	if f := l.Failure(); f.Err != nil || f.Lost != 0 {
		t.Errorf("failure is %+v after the end of it", f)
	}
	l.write(full())
	if got := l.records(); len(got) != 1 {
		t.Errorf("%d records", len(got))
	}
	if f := (*audit.Log)(nil).Failure(); f.Err != nil {
		t.Errorf("no log fails: %v", f.Err)
	}
}

// Nothing is written where another user could put another file in its place.
func TestFolderOfOthers(t *testing.T) {
	t.Parallel()
	if !ownership.Told {
		t.Skip("modes tell nothing here")
	}
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o777))
	path := filepath.Join(dir, "state", "audit.jsonl")
	var unsafe *ownership.Unsafe
	if _, err := audit.Open(path); !errors.As(err, &unsafe) || unsafe.Part != dir {
		t.Errorf("error %v", err)
	}
	must(t, os.Chmod(dir, 0o755))
	l, err := audit.Open(path)
	must(t, err)
	must(t, l.Close())
}

func TestRotation(t *testing.T) {
	t.Parallel()
	l := newFixture(t, audit.Options{MaxSize: 1000, Keep: 2})
	const records = 50
	for i := range records {
		l.write(audit.Record{Event: audit.Cached, DurationMS: int64(i)})
	}
	for _, name := range []string{l.path, l.path + ".1", l.path + ".2"} {
		info, err := os.Stat(name)
		must(t, err)
		if info.Size() > 1000 || info.Size() == 0 || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has %d bytes, mode %v", filepath.Base(name), info.Size(), info.Mode())
		}
	}
	for _, name := range []string{l.path + ".0", l.path + ".3"} {
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("%s is there", filepath.Base(name))
		}
	}
	got := l.records()
	for i, r := range got { // the youngest ones, in order
		if want := int64(records - len(got) + i); r.DurationMS != want {
			t.Fatalf("record %d is number %d, want %d", i, r.DurationMS, want)
		}
	}
	if len(got) < 6 {
		t.Errorf("%d records are left", len(got))
	}
}

// A record that is larger than the limit gets a file of its own, and an
// interrupted rotation is finished by the next one.
func TestRotationOddities(t *testing.T) {
	t.Parallel()
	l := newFixture(t, audit.Options{MaxSize: 1})
	l.write(audit.Record{Event: audit.Denied, Rule: "interrupted"})
	must(t, l.Close())
	must(t, os.Rename(l.path, l.path+".0"))
	l = openAt(t, l.path, audit.Options{MaxSize: 1})
	l.write(audit.Record{Event: audit.Denied, Rule: "second"}, audit.Record{Event: audit.Denied, Rule: "third"})
	var rules []string
	for _, r := range l.records() {
		rules = append(rules, r.Rule)
	}
	if !slices.Equal(rules, []string{"interrupted", "second", "third"}) {
		t.Errorf("records are %q", rules)
	}
}

func TestFileIsMovedAway(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("needs a system that moves open files")
	}
	l := newFixture(t, audit.Options{})
	moved := fixture{t: t, path: filepath.Join(t.TempDir(), "moved")}
	for i, disturb := range []func() error{
		func() error { return os.Rename(l.path, moved.path) },
		func() error { return os.Remove(l.path) },
		func() error { return os.RemoveAll(filepath.Dir(l.path)) },
		l.Close,
	} {
		l.write(audit.Record{Event: audit.Denied, DurationMS: int64(i)})
		must(t, disturb())
		l.write(audit.Record{Event: audit.Approved, DurationMS: int64(i)})
		records := l.records()
		if len(records) == 0 || records[len(records)-1].Event != audit.Approved || records[len(records)-1].DurationMS != int64(i) {
			t.Errorf("disturbance %d: the record after it is lost", i)
		}
	}
	if got := moved.records(); len(got) != 1 {
		t.Errorf("the moved file has %d records", len(got))
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
		log := newFixture(t, audit.Options{})
		if log.Write(r) != nil {
			return
		}
		once := log.records()
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
		log.write(got)
		lines := strings.SplitAfter(log.raw(), "\n")
		if len(lines) != 3 || token != got.Token && got.Token != "[redacted]" {
			t.Fatalf("log is %q", lines)
		}
		if got.Token == token && lines[0] != lines[1] {
			t.Errorf("%q is written again as %q", lines[0], lines[1])
		}
	})
}

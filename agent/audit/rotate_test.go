package audit_test

import (
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"

	"github.com/vault-stepup/stepup/agent/audit"
)

func TestRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.jsonl")
	l := open(t, path, audit.Options{MaxSize: 1000, Keep: 2})
	const records = 50
	for i := range records {
		must(t, l.Write(audit.Record{Event: audit.Cached, DurationMS: int64(i)}))
	}
	for _, name := range []string{path, path + ".1", path + ".2"} {
		info, err := os.Stat(name)
		must(t, err)
		if info.Size() > 1000 || info.Size() == 0 || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has %d bytes, mode %v", filepath.Base(name), info.Size(), info.Mode())
		}
	}
	for _, name := range []string{path + ".0", path + ".3"} {
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("%s is there", filepath.Base(name))
		}
	}
	got := read(t, path)
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
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	old, err := audit.Open(path)
	must(t, err)
	must(t, old.Write(audit.Record{Event: audit.Denied, Rule: "interrupted"}))
	must(t, old.Close())
	must(t, os.Rename(path, path+".0"))
	l := open(t, path, audit.Options{MaxSize: 1})
	must(t, l.Write(audit.Record{Event: audit.Denied, Rule: "second"}))
	must(t, l.Write(audit.Record{Event: audit.Denied, Rule: "third"}))
	var rules []string
	for _, r := range read(t, path) {
		rules = append(rules, r.Rule)
	}
	if !reflect.DeepEqual(rules, []string{"interrupted", "second", "third"}) {
		t.Errorf("records are %q", rules)
	}
}

func TestFileIsMovedAway(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("needs a system that moves open files")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "sub", "audit.jsonl")
	l := open(t, path, audit.Options{})
	for i, disturb := range []func() error{
		func() error { return os.Rename(path, filepath.Join(dir, "moved")) },
		func() error { return os.Remove(path) },
		func() error { return os.RemoveAll(filepath.Dir(path)) },
		l.Close,
	} {
		must(t, l.Write(audit.Record{Event: audit.Denied, DurationMS: int64(i)}))
		must(t, disturb())
		must(t, l.Write(audit.Record{Event: audit.Approved, DurationMS: int64(i)}))
		records := read(t, path)
		if len(records) == 0 || records[len(records)-1].Event != audit.Approved || records[len(records)-1].DurationMS != int64(i) {
			t.Errorf("disturbance %d: the record after it is lost", i)
		}
	}
	if got := read(t, filepath.Join(dir, "moved")); len(got) != 1 {
		t.Errorf("the moved file has %d records", len(got))
	}
}

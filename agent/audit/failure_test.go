package audit_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/ownership"
)

// A log that cannot be written says since when and what is lost, until it can again.
func TestFailure(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "state")
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	l := open(t, filepath.Join(folder, "audit.jsonl"), audit.Options{Now: func() time.Time { return now }})
	defer l.Close()
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
	must(t, l.Write(full()))
	if got := read(t, filepath.Join(folder, "audit.jsonl")); len(got) != 1 {
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

package audit_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/vault-stepup/stepup/agent/audit"
)

func line(rule string) string {
	return fmt.Sprintf(`{"time":"2026-03-04T05:06:07.890Z","event":"approved","rule":%q}`+"\n", rule)
}

func packed(t *testing.T, name, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	switch filepath.Ext(name) {
	case ".gz":
		w := gzip.NewWriter(&out)
		_, err := w.Write([]byte(text))
		must(t, errors.Join(err, w.Close()))
	case ".zst":
		w, err := zstd.NewWriter(&out)
		must(t, err)
		_, err = w.Write([]byte(text))
		must(t, errors.Join(err, w.Close()))
	default:
		return []byte(text)
	}
	return out.Bytes()
}

func rulesOf(found audit.History) (rules []string) {
	for _, r := range found.Records {
		rules = append(rules, r.Rule)
	}
	return rules
}

func TestRead(t *testing.T) {
	t.Parallel()
	whole := line("new")
	for name, tt := range map[string]struct {
		files   map[string]string
		want    []string
		broken  int
		skipped int
	}{
		"our own rotation":        {map[string]string{"audit.jsonl": line("d"), "audit.jsonl.1": line("c"), "audit.jsonl.2": line("b"), "audit.jsonl.10": line("a")}, []string{"a", "b", "c", "d"}, 0, 0},
		"an interrupted rotation": {map[string]string{"audit.jsonl.0": line("c"), "audit.jsonl.1": line("b")}, []string{"b", "c"}, 0, 0},
		"logrotate":               {map[string]string{"audit.jsonl": line("d"), "audit.jsonl.1": line("c"), "audit.jsonl.2.gz": line("b"), "audit.jsonl.3.zst": line("a")}, []string{"a", "b", "c", "d"}, 0, 0},
		"with dates":              {map[string]string{"audit.jsonl": line("c"), "audit.jsonl-20261129": line("b"), "audit.jsonl-20261128.gz": line("a")}, []string{"a", "b", "c"}, 0, 0},
		"with an extension":       {map[string]string{"audit.jsonl": line("c"), "audit-20261129.jsonl": line("b"), "audit-20261128.jsonl.gz": line("a"), "audit.1.jsonl": line("z")}, []string{"z", "a", "b", "c"}, 0, 0},
		"neighbours":              {map[string]string{"audit.jsonl": line("a"), "audit.jsonl.lock": "x", "audit.jsonl.bak": "x", "audit.jsonl.1~": "x", "other.jsonl.1": "x"}, []string{"a"}, 0, 0},
		"torn":                    {map[string]string{"audit.jsonl": line("a") + `{"time":"2026-` + "\n" + line("b") + `{"time":`}, []string{"a", "b"}, 2, 0},
		"not records":             {map[string]string{"audit.jsonl": "\n{}\n[]\nnull\nhello\n" + `{"time":"2026-03-04T05:06:07Z"}` + "\n" + strings.Repeat("x", 3<<20) + "\n" + line("a")}, []string{"a"}, 6, 0},
		"a later version":         {map[string]string{"audit.jsonl": `{"time":"2026-03-04T05:06:07Z","event":"weighed","rule":"a","more":[1]}`}, []string{"a"}, 0, 0},
		"no line at the end":      {map[string]string{"audit.jsonl": strings.TrimSuffix(whole, "\n")}, []string{"new"}, 0, 0},
		"half a gzip":             {map[string]string{"audit.jsonl": line("b"), "audit.jsonl.2.gz": "half"}, []string{"b"}, 0, 1},
		"another compression":     {map[string]string{"audit.jsonl": line("b"), "audit.jsonl.2.xz": "x"}, []string{"b"}, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, text := range tt.files {
				raw := packed(t, file, text)
				if text == "half" {
					raw = packed(t, file, line("c"))[:5]
				}
				must(t, os.WriteFile(filepath.Join(dir, file), raw, 0o600))
			}
			found, err := audit.Read(filepath.Join(dir, "audit.jsonl"))
			must(t, err)
			if diff := cmp.Diff(tt.want, rulesOf(found)); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
			if found.Broken != tt.broken || len(found.Skipped) != tt.skipped {
				t.Errorf("%d broken, skipped %v", found.Broken, found.Skipped)
			}
		})
	}
}

// What the agent writes and rotates is read, in order, and by the clock where there are
// several writers.
func TestReadWhatIsWritten(t *testing.T) {
	t.Parallel()
	f := newFixture(t, audit.Options{MaxSize: 1000, Keep: 100})
	want := make([]audit.Record, 20)
	for i := range want {
		want[i] = full()
		want[i].Time = want[i].Time.Add(time.Duration(i) * time.Second)
		want[i].Kind, want[i].Prompter = "passcode", "attached"
		f.write(want[i])
	}
	f.write(audit.Record{Time: want[0].Time.Add(-time.Hour), Event: audit.Denied, Rule: "late"})
	found, err := audit.Read(f.path)
	must(t, err)
	if len(found.Files) < 5 || found.Records[0].Rule != "late" {
		t.Errorf("%d files, first %+v", len(found.Files), found.Records[0])
	}
	if diff := cmp.Diff(want, found.Records[1:]); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestReadFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := audit.Read(filepath.Join(dir, "audit.jsonl")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing log: %v", err)
	}
	if _, err := audit.Read(dir); err == nil {
		t.Error("a folder is read")
	}
	if runtime.GOOS == "windows" || os.Geteuid() == 0 {
		return // no mode of a file holds
	}
	secret := filepath.Join(dir, "secret.jsonl")
	must(t, os.WriteFile(secret, nil, 0))
	if _, err := audit.Read(secret); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a log without rights: %v", err)
	}
}

// Whatever a file holds, each of its lines is a record or counted as none, and each record
// comes back when it is written again.
func FuzzRead(f *testing.F) {
	raw, err := json.Marshal(full())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(line("a") + line("b")))
	f.Add([]byte("\n\nnull\n{\"time\":\"2026-03-04T05:06:07Z\",\"event\":\"x\",\"duration_ms\":-1}\n\x00"))
	path := filepath.Join(f.TempDir(), "audit.jsonl")
	f.Fuzz(func(t *testing.T, raw []byte) {
		must(t, os.WriteFile(path, raw, 0o600))
		found, err := audit.Read(path)
		must(t, err)
		lines := 0
		for line := range bytes.SplitSeq(raw, []byte("\n")) {
			if len(line) > 0 {
				lines++
			}
		}
		if len(found.Records)+found.Broken != lines || len(found.Skipped) > 0 {
			t.Errorf("%d records and %d others of %d lines; skipped %v", len(found.Records), found.Broken, lines, found.Skipped)
		}
		for i, r := range found.Records {
			if r.Event == "" || r.Time.IsZero() || r.DurationMS < 0 || i > 0 && r.Time.Before(found.Records[i-1].Time) {
				t.Errorf("record %+v", r)
			}
		}
	})
}

package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

// Broken files and the whole of what a person reads about each.
func TestBroken(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/broken/*.hcl")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d broken files, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".hcl")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, diags := Load("testdata/broken/"+name+".hcl", fixed())
			if cfg != nil || !diags.HasErrors() || diags.Err() == nil {
				t.Errorf("a broken file loads: %v", diags.Err())
			}
			got := report(t, diags)
			golden := "testdata/broken/" + name + ".golden"
			if *update {
				write(t, golden, []byte(got))
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			for _, secret := range []string{"hvs.topsecret", "correct horse", "s3cr", "alice:"} {
				if strings.Contains(got+diags.Err().Error(), secret) {
					t.Errorf("the message repeats %q", secret)
				}
			}
		})
	}
}

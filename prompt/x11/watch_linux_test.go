package x11_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/prompt/prompttest"
	"github.com/vault-stepup/stepup/prompt/x11"
)

// TestObserve: the tests of prompt/dialog look at windows; here is who may look at all.
func TestObserve(t *testing.T) {
	t.Parallel()
	const cookie = "0123456789abcdef"
	entry := "\xff\xff\x00\x00\x00\x00\x00\x12MIT-MAGIC-COOKIE-1\x00\x10"
	right, wrong, none := filepath.Join(t.TempDir(), "right"), filepath.Join(t.TempDir(), "wrong"), filepath.Join(t.TempDir(), "none")
	for file, text := range map[string]string{right: entry + cookie, wrong: entry + strings.ToUpper(cookie), none: ""} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	closed := prompttest.StartX(t, "640x480x24", "-auth", right)
	open := prompttest.StartX(t, "640x480x24")
	old := prompttest.StartX(t, "640x480x24", "-extension", "X-Resource")
	for _, c := range []struct {
		name, display, authority string
		err                      string // a part of it; "" for none
	}{
		{"with the cookie", closed, right, ""},
		{"of a screen", closed + ".0", right, ""},
		{"with another cookie", closed, wrong, "refuses us"},
		{"without a cookie", closed, none, "refuses us"},
		{"everybody may", "unix" + open, none, ""},
		{"does not know processes", old, none, "X-Resource"},
		{"is nowhere", ":59000", none, "no such file"},
		{"on another machine", "localhost:10.0", none, "not on this machine"},
		{"no display", "", none, "not on this machine"},
		{"a path", ":../0", none, "not on this machine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, err := x11.Observe(t.Context(), c.display, c.authority)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("Observe = %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			// The other tests of this display open no window.
			if seen, err := w.Seen(t.Context()); seen || err != nil {
				t.Errorf("Seen = %t, %v", seen, err)
			}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			for range 2 { // the second because the first was cut off
				if seen, err := w.Seen(ended); seen || err == nil {
					t.Errorf("Seen after the end = %t, %v", seen, err)
				}
			}
		})
	}
}

package notification

import (
	"os"
	"path/filepath"
	"testing"
)

// A server shows an empty place for an icon that the theme does not have.
func TestIcon(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "stepup.svg")
	if got := icon(file); got != "dialog-password" {
		t.Errorf("icon = %q where ours is not installed", got)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := icon(file); got != "stepup" {
		t.Errorf("icon = %q where ours is installed", got)
	}
}

package configtest

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// The example is as the documents say.
func TestExample(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	home := t.TempDir()
	c := &cli.Console{Out: &out, Err: &errs, Env: func(name string) string { return map[string]string{"HOME": home, "USER": "alice"}[name] }}
	examples := filepath.Join("..", "..", "..", "..", "examples")
	if err := run(t.Context(), c, filepath.Join(examples, "requests", "shared.hcl"), filepath.Join(examples, "shared.hcl")); err != nil {
		t.Errorf("%v\n%s%s", err, &out, &errs)
	}
}

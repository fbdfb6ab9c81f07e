package prompt_test

import (
	"errors"
	"testing"

	"github.com/vault-stepup/stepup/prompt"
)

func TestWithdrawn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cause error
		want  string
	}{
		{prompt.ErrElsewhere, "answered elsewhere"},
		{prompt.ErrDenied, "denied elsewhere"},
		{prompt.ErrTimeout, "timed out"},
		{prompt.ErrCanceled, "cancelled"},
		{prompt.ErrUnavailable, "given up"},
		{prompt.ErrNotNeeded, "no longer needed"},
		{errors.New("x"), "no longer needed"},
		{nil, "no longer needed"},
		{prompt.Decided{}, "the push was decided"},
		{prompt.Decided{Message: "approved\n\x1b[2J"}, "approved ?(2J"},
	} {
		if got := prompt.Withdrawn(c.cause); got != c.want {
			t.Errorf("Withdrawn(%v) = %q, want %q", c.cause, got, c.want)
		}
	}
}

// Nothing that the sanitiser lets through needs it; it must hold without.
func TestEscapeMarkup(t *testing.T) {
	t.Parallel()
	const in, want = `<b>&amp; it's "this"</b>`, `&lt;b&gt;&amp;amp; it's "this"&lt;/b&gt;`
	if got := prompt.EscapeMarkup(in); got != want {
		t.Errorf("EscapeMarkup(%q) = %q, want %q", in, got, want)
	}
}

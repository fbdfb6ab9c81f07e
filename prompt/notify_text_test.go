package prompt

import "testing"

// Nothing that the sanitiser lets through needs it; it must hold without.
func TestEscapeMarkup(t *testing.T) {
	t.Parallel()
	const in, want = `<b>&amp; it's "this"</b>`, `&lt;b&gt;&amp;amp; it's "this"&lt;/b&gt;`
	if got := escapeMarkup(in); got != want {
		t.Errorf("escapeMarkup(%q) = %q, want %q", in, got, want)
	}
}

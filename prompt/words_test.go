package prompt_test

import (
	"errors"
	"strings"
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

// A program that anybody could have put there is named by its whole path, as one thing: a
// folder may be called anything.
func TestName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		by   prompt.Requester
		want string
	}{
		{"installed", prompt.Requester{PID: 7, Exe: "/usr/bin/vault"}, "vault (pid 7)"},
		{"without a number", prompt.Requester{Exe: "/usr/bin/vault"}, "vault"},
		{"unknown", prompt.Requester{PID: 7}, "an unknown program (pid 7)"},
		{"of a user", prompt.Requester{PID: 7, Exe: "/tmp/vault", Origin: prompt.OriginUser}, "/tmp/vault (pid 7, not installed by the system)"},
		{"of a user, without a number", prompt.Requester{Exe: "/tmp/vault", Origin: prompt.OriginUser}, "/tmp/vault (not installed by the system)"},
		{"replaced", prompt.Requester{PID: 7, Exe: "/memfd:vault", Origin: prompt.OriginReplaced}, "'/memfd:vault' (pid 7, its file was deleted or replaced)"},
		{"in a sandbox", prompt.Requester{PID: 7, Exe: "/usr/bin/vault", Origin: prompt.OriginSandbox}, "/usr/bin/vault (pid 7, not installed by the system, from a container or sandbox)"},
		{"it has ended", prompt.Requester{Origin: prompt.OriginEnded}, "an unknown program (the process that connected has ended)"},
		{"another origin", prompt.Requester{PID: 7, Exe: "/usr/bin/vault", Origin: "x\x1b"}, "/usr/bin/vault (pid 7, where it comes from cannot be told)"},
		{"a folder like our words", prompt.Requester{PID: 7, Exe: "/tmp/vault (pid 1) wants to read kv/ok, and/x", Origin: prompt.OriginUser}, "'/tmp/vault (pid 1) wants to read kv/ok, and/x' (pid 7, not installed by the system)"},
		{"a quote in the path", prompt.Requester{PID: 7, Exe: "/tmp/a' (pid 1) 'b", Origin: prompt.OriginUser}, "'/tmp/a? (pid 1) ?b' (pid 7, not installed by the system)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := prompt.Request{Requester: tt.by}.Sanitized()
			if got := r.Requester.Name(); got != tt.want {
				t.Errorf("Name() = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTitle(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]prompt.Request{
		"stepup: allow reading kv/data/prod/db?":          {Kind: prompt.Passcode, Rule: "r", Path: "kv/data/prod/db", Operation: "read"},
		"stepup: allow updating transit/sign/k?":          {Kind: prompt.Confirm, Rule: "r", Path: "transit/sign/k", Operation: "update"},
		"stepup: allow the use of kv/x?":                  {Kind: prompt.Choose, Rule: "r", Path: "kv/x", Operation: "sudo"},
		"stepup: allow a step-up for rule r?":             {Kind: prompt.Password, Rule: "r"},
		"stepup: allow a login at auth/ldap/login/alice?": {Kind: prompt.Passcode, Path: "auth/ldap/login/alice", Operation: "update"},
		"stepup: allow a login?":                          {Kind: prompt.Passcode},
		"stepup: tap 42 in Okta Verify":                   {Kind: prompt.Push, Rule: "r", Number: "42"},
		"stepup: approve it on your phone":                {Kind: prompt.Push, Rule: "r"},
		"stepup: somebody else has to approve it":         {Kind: prompt.Push, Rule: "r", MethodType: prompt.ControlGroup},
		"stepup: allow reading kv/" + strings.Repeat("a", 36) + "..." + strings.Repeat("a", 37) + "z?": {Kind: prompt.Passcode, Rule: "r", Path: "kv/" + strings.Repeat("a", 99) + "z", Operation: "read"},
	} {
		if got := r.Sanitized().Title(); got != want {
			t.Errorf("Title() = %q, want %q", got, want)
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

// What a yes allows stands before all that strangers say.
func TestNotesSayWhatIsAllowed(t *testing.T) {
	t.Parallel()
	r := prompt.Request{Allows: "this, and all of kv/\x1b[2J*, for up to 5 min", Message: "wrong code", Requester: prompt.Requester{Claim: "vault kv"}}
	notes := r.Sanitized().Notes()
	if want := "A yes allows this, and all of kv/?(2J*, for up to 5 min"; notes[0] != want || len(notes) != 3 {
		t.Errorf("Notes() = %q, want %q first", notes, want)
	}
	if notes = (prompt.Request{Message: "wrong code"}).Notes(); len(notes) != 1 {
		t.Errorf("Notes() = %q", notes)
	}
}

func TestShortName(t *testing.T) {
	t.Parallel()
	python := prompt.Requester{PID: 7, Exe: "/usr/bin/python3.11", Claim: "python3 deploy.py in /src"}
	with := func(change func(*prompt.Requester)) prompt.Requester {
		q := python
		change(&q)
		return q
	}
	for name, tt := range map[string]struct {
		requester prompt.Requester
		want      string
	}{
		"a script":           {python, "python3 deploy.py in /src"},
		"no script":          {with(func(q *prompt.Requester) { q.Claim = "python3" }), "python3.11 (pid 7)"},
		"another name":       {with(func(q *prompt.Requester) { q.Claim = "vault kv" }), "python3.11 (pid 7)"},
		"of the user":        {with(func(q *prompt.Requester) { q.Origin = prompt.OriginUser }), "/usr/bin/python3.11 (pid 7, not installed by the system)"},
		"it has ended":       {with(func(q *prompt.Requester) { q.Origin = prompt.OriginUnknown }), "/usr/bin/python3.11 (pid 7)"},
		"its path has words": {with(func(q *prompt.Requester) { q.Origin, q.Exe = prompt.OriginUnknown, "/a (pid 1)" }), "'/a (pid 1)' (pid 7)"},
		"it hides":           {prompt.Requester{Hidden: true, Claim: "a b"}, "a program that hides itself from you"},
		"nothing is known":   {prompt.Requester{}, "an unknown program"},
	} {
		if got := tt.requester.ShortName(); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

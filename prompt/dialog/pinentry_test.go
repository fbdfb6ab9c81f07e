//go:build linux

package dialog

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// pinentry is a script that speaks the protocol and notes what it is told; last
// is what it says to GETPIN or CONFIRM, odd what it says to SETNOTOK.
func pinentry(last, odd string) string {
	return `
echo '# a comment'; echo 'OK Pleased to meet you'
while IFS= read -r line; do
  printf '%s\n' "$line" >> $F/commands
  case $line in
  'GETINFO flavor') echo 'D qt'; echo OK ;;
  'OPTION owner'*) echo 'ERR 83886254 Unknown option <Pinentry>' ;;
  SETNOTOK*) ` + odd + ` ;;
  GETPIN|CONFIRM) ` + last + ` ;;
  *) echo OK ;;
  esac
done
`
}

func TestPinentryConversation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, last, odd string
		kind            prompt.Kind
		answer          string
		err             error
	}{
		{"password", `echo 'S PASSWORD_FROM_CACHE'; echo 'D two  100%25 <b>%0'; echo 'D x'; echo OK`, "echo OK", prompt.Password, "two  100% <b>%0x", nil},
		{"passcode", `echo 'D 123 456'; echo OK`, "echo OK", prompt.Passcode, "123456", nil},
		{"cancelled", `echo 'ERR 83886179 Operation cancelled <Pinentry>'`, "echo OK", prompt.Password, "", prompt.ErrDismissed},
		{"window closed", `echo 'ERR 83886278 Fully cancelled'`, "echo OK", prompt.Password, "", prompt.ErrDismissed},
		{"timed out", `echo 'ERR 83886142 Timeout'`, "echo OK", prompt.Password, "", prompt.ErrDismissed},
		{"approved", `echo OK`, "echo OK", prompt.Confirm, "yes", nil},
		{"denied", `echo 'ERR 83886194 Not confirmed'`, "echo OK", prompt.Confirm, "", prompt.ErrDenied},
		{"cancelled, of one without a third button", `echo 'ERR 83886194 Not confirmed'`, "echo 'ERR 83886355 Unknown command'", prompt.Confirm, "", prompt.ErrDismissed},
		{"cannot show it", `echo 'ERR 83886199 secret'`, "echo OK", prompt.Password, "", prompt.ErrUnavailable},
		{"dies", `exit 3`, "echo OK", prompt.Password, "", prompt.ErrUnavailable},
		{"asks back", `echo 'INQUIRE QUALITY secret'`, "echo OK", prompt.Password, "", prompt.ErrUnavailable},
		{"talks without end", `while echo '# secret'; do :; done`, "echo OK", prompt.Password, "", prompt.ErrUnavailable},
		{"line without end", `while printf 'D secret'; do :; done`, "echo OK", prompt.Password, "", prompt.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, map[string]string{"pinentry-qt": pinentry(c.last, c.odd)})
			answer, err := f.desktop().Prompt(t.Context(), prompttest.Request(c.kind))
			if answer != c.answer || !errors.Is(err, c.err) {
				t.Errorf("Prompt = %q, %v; want %q, %v", answer, err, c.answer, c.err)
			}
			if strings.Contains(fmt.Sprint(err), "secret") {
				t.Errorf("what it said is in the error: %v", err)
			}
		})
	}
}

func TestPinentryCommands(t *testing.T) {
	t.Parallel()
	for kind, want := range map[prompt.Kind]string{
		prompt.Password: `
GETINFO flavor
OPTION no-grab
OPTION lc-ctype=C.UTF-8
SETTITLE stepup: allow reading kv/data/prod/db?
SETCANCEL Not now
SETOK Send
SETPROMPT Password:
SETTIMEOUT 57
SETERROR Attempt 2 of 3: wrong password
SETDESC terraform (pid 4711) wants to read kv/data/prod/db%0A%0AVault: corp%0ARule: prod-kv%0AStarted by: make, zsh%0A%0APassword for corp_totp%0AThis window closes after 55 s%0ATo deny: stepup deny abc234
GETPIN
`,
		prompt.Confirm: `
GETINFO flavor
OPTION no-grab
OPTION lc-ctype=C.UTF-8
SETTITLE stepup: allow reading kv/data/prod/db?
SETCANCEL Not now
SETOK Allow
SETNOTOK Deny
SETTIMEOUT 57
SETDESC terraform (pid 4711) wants to read kv/data/prod/db%0A%0AVault: corp%0ARule: prod-kv%0AStarted by: make, zsh%0A%0AAttempt 2 of 3: wrong password%0A%0AAllow it?%0AThis window closes after 55 s
CONFIRM
`,
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, map[string]string{"pinentry-qt": pinentry(`echo 'ERR 83886179 x'`, "echo OK")})
			r := prompttest.Request(kind)
			r.Attempt, r.Message, r.Deadline, r.Requester.UID = 2, "wrong password", f.now.Add(55*time.Second), -1
			if _, err := f.desktop().Prompt(t.Context(), r); !errors.Is(err, prompt.ErrDismissed) {
				t.Fatalf("Prompt = %v", err)
			}
			if diff := cmp.Diff(want, "\n"+f.read(t, "commands")); diff != "" {
				t.Errorf("commands (-want +got):\n%s", diff)
			}
		})
	}
}

// GNOME's draws no third button, so the window says how to deny without one.
func TestPinentryOfGNOME(t *testing.T) {
	t.Parallel()
	script := strings.Replace(pinentry(`echo 'ERR 83886194 x'`, "echo OK"), "D qt", "D gnome3", 1)
	f := newFixture(t, map[string]string{"pinentry-gnome3": script})
	if _, err := f.desktop().Prompt(t.Context(), prompttest.Request(prompt.Confirm)); !errors.Is(err, prompt.ErrUnavailable) {
		t.Errorf("Prompt without a bus = %v, want ErrUnavailable", err)
	}
	f.session = []string{"DISPLAY=:7", "DBUS_SESSION_BUS_ADDRESS=unix:path=/bus"}
	if _, err := f.desktop().Prompt(t.Context(), prompttest.Request(prompt.Confirm)); !errors.Is(err, prompt.ErrDismissed) {
		t.Errorf("Prompt = %v, want ErrDismissed", err)
	}
	if commands := f.read(t, "commands"); strings.Contains(commands, "SETNOTOK") || !strings.Contains(commands, "stepup deny abc234") {
		t.Errorf("commands %s", commands)
	}
	f.session[0] = "DISPLAY=localhost:10" // its window would be on this machine's screen
	if _, err := f.desktop().Prompt(t.Context(), prompttest.Request(prompt.Confirm)); !errors.Is(err, prompt.ErrUnavailable) {
		t.Errorf("Prompt on a forwarded display = %v, want ErrUnavailable", err)
	}
}

// The pinentry of the configuration is asked before all other windows, whatever it is; those
// remain for what it cannot ask.
func TestOwnPinentry(t *testing.T) {
	t.Parallel()
	const zenity = "echo 654321; exit 20"
	answers := func(answer string) string { return pinentry("echo 'D "+answer+"'; echo OK", "echo OK") }
	of := func(flavour string) string { return strings.Replace(answers("123456"), "D qt", "D "+flavour, 1) }
	knows := strings.Replace(answers("123456"), "echo 'D qt'; echo OK", "echo 'ERR 83886355 Unknown command'", 1)
	numbered := func(n int) prompt.Request {
		r := prompttest.Request(prompt.Push)
		r.Number = fmt.Sprint(n)
		return r
	}
	many := prompttest.Request(prompt.Choose)
	for i := range 60 {
		many.Choices = append(many.Choices, fmt.Sprintf("a_method_with_a_long_name_%d", i))
	}
	for name, tt := range map[string]struct {
		own     string // its script; "" where it is not there
		request prompt.Request
		answer  string
		err     error
		warned  string
	}{
		"a passcode":              {answers("123456"), prompttest.Request(prompt.Passcode), "123456", nil, ""},
		"a password with a code":  {answers("pw"), prompttest.CodeToo(prompttest.Request(prompt.Password)), "pw", nil, ""},
		"a choice by its number":  {answers("2"), prompttest.Request(prompt.Choose), "corp_duo", nil, ""},
		"does not tell a flavour": {knows, prompttest.Request(prompt.Passcode), "123456", nil, ""},
		"of a flavour of its own": {of("rofi"), prompttest.Request(prompt.Passcode), "123456", nil, ""},
		"draws on terminals":      {of("curses"), prompttest.Request(prompt.Passcode), "654321", nil, "pinentry of flavour"},
		"a no":                    {pinentry("echo 'ERR 83886194 x'", "echo OK"), prompttest.Request(prompt.Confirm), "", prompt.ErrDenied, ""},
		"closed":                  {pinentry("echo 'ERR 83886179 x'", "echo OK"), prompttest.Request(prompt.Passcode), "", prompt.ErrDismissed, ""},
		"dies":                    {"exit 3", prompttest.Request(prompt.Passcode), "654321", nil, "program=own-pinentry"},
		"is not there":            {"", prompttest.Request(prompt.Passcode), "654321", nil, "executable file not found"},
		"a new secret":            {answers("123456"), prompttest.EnrolmentRequest(), "654321", nil, ""},
		"a number to tap":         {answers("123456"), numbered(42), "", nil, ""},
		"too many choices":        {answers("1"), many, "", prompt.ErrDismissed, "do not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scripts := map[string]string{"zenity": zenity}
			if tt.own != "" {
				scripts["own-pinentry"] = tt.own
			}
			f := newFixture(t, scripts)
			d := f.desktop()
			d.config.Pinentry = "own-pinentry"
			answer, err := d.Prompt(t.Context(), tt.request)
			if answer != tt.answer || !errors.Is(err, tt.err) {
				t.Errorf("Prompt = %q, %v; want %q, %v", answer, err, tt.answer, tt.err)
			}
			log := f.log.String()
			if warned := strings.Contains(log, "level=WARN"); warned != (tt.warned != "") || !strings.Contains(log, tt.warned) {
				t.Errorf("logged %s, want a warning with %q", log, tt.warned)
			}
			if names, err := d.Available(t.Context()); err != nil || (names[0] == "own-pinentry") != (tt.own != "") {
				t.Errorf("Available = %q, %v", names, err)
			}
		})
	}
}

func TestPinentryHostileText(t *testing.T) {
	t.Parallel()
	for _, kind := range []prompt.Kind{prompt.Password, prompt.Confirm, prompt.Choose} {
		f := newFixture(t, map[string]string{"pinentry-qt": pinentry(`echo 'ERR 83886179 x'`, "echo OK")})
		d := f.desktop()
		d.config.Pinentry = "pinentry-qt" // which is asked for a choice then, too
		if _, err := d.Prompt(t.Context(), prompttest.HostileRequest(kind)); !errors.Is(err, prompt.ErrDismissed) {
			t.Fatalf("Prompt = %v", err)
		}
		commands := f.read(t, "commands")
		for line := range strings.Lines(commands) {
			if len(line) > 1000 || strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Errorf("line %.80q of %d bytes", line, len(line))
			}
		}
		if n := strings.Count(commands, "\n"); n > 12 {
			t.Errorf("%d lines: a stranger can add commands\n%s", n, commands)
		}
		if !strings.Contains(commands, "%0AThis window closes after") {
			t.Errorf("our own words are cut:\n%s", commands)
		}
	}
}

// FuzzAssuan: what is escaped comes back as it was, and stays one line of any
// length without half an escape at its end.
func FuzzAssuan(f *testing.F) {
	f.Add("100%\r\n%0A", 4)
	f.Add("%2", 2)
	f.Add("x", 1)
	f.Fuzz(func(t *testing.T, s string, n int) {
		escaped := assuanEscape(s)
		if got := assuanUnescape(escaped); got != s || strings.ContainsAny(escaped, "\r\n\x00") {
			t.Errorf("%q is written %q and read %q", s, escaped, got)
		}
		if n < 0 {
			return
		}
		clipped := clipEscape(escaped, n)
		if len(clipped) > n || !strings.HasPrefix(s, assuanUnescape(clipped)) {
			t.Errorf("%q is clipped to %q", escaped, clipped)
		}
	})
}

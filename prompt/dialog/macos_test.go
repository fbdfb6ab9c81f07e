package dialog_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/dialog"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// fixture compares with a file of testdata; it is written when
// STEPUP_UPDATE_GOLDEN is set.
func fixture(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "desktop", name)
	if os.Getenv("STEPUP_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.ReplaceAll(string(want), "\r\n", "\n"), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// ofScript is a request whose text does not depend on the clock.
func ofScript(kind prompt.Kind) (prompt.Request, time.Time) {
	r, now := prompttest.Request(kind), time.Now()
	r.Attempt, r.Message, r.Deadline = 2, "wrong code: wait for the next one", now.Add(55*time.Second)
	if kind == prompt.Push {
		r.Attempt, r.Method, r.MethodType, r.Message, r.Number = 1, "okta", "okta", "tap 42 in Okta Verify", "42"
	}
	return r, now
}

func TestMacInvocation(t *testing.T) {
	t.Parallel()
	for _, kind := range []prompt.Kind{prompt.Passcode, prompt.Password, prompt.Choose, prompt.Confirm, prompt.Push} {
		v := dialog.MacInvocation(ofScript(kind))
		if diff := cmp.Diff([]string{"-l", "JavaScript", "-"}, v.Args); diff != "" {
			t.Errorf("arguments (-want +got):\n%s", diff)
		}
		fixture(t, "macos-"+string(kind)+".js", v.Input)
	}
}

func TestWindowsInvocation(t *testing.T) {
	t.Parallel()
	for _, kind := range []prompt.Kind{prompt.Passcode, prompt.Password, prompt.Choose, prompt.Confirm, prompt.Push} {
		v := dialog.WindowsInvocation(ofScript(kind))
		last := len(v.Args) - 1
		if diff := cmp.Diff([]string{"-NoLogo", "-NoProfile", "-NonInteractive", "-Sta", "-EncodedCommand"}, v.Args[:last]); diff != "" {
			t.Errorf("arguments (-want +got):\n%s", diff)
		}
		raw, err := base64.StdEncoding.DecodeString(v.Args[last])
		if err != nil {
			t.Fatal(err)
		}
		units := make([]uint16, len(raw)/2)
		for i := range units {
			units[i] = binary.LittleEndian.Uint16(raw[2*i:])
		}
		fixture(t, "../../windows.ps1", string(utf16.Decode(units))) // the same for every question
		fixture(t, "windows-"+string(kind)+".json", v.Input)
		if total := len(strings.Join(v.Args, " ")); total > 30_000 { // CreateProcess takes 32767
			t.Errorf("the arguments have %d bytes", total)
		}
	}
}

// TestScriptsHostileText: strangers' text is data in both scripts.
func TestScriptsHostileText(t *testing.T) {
	t.Parallel()
	for _, kind := range []prompt.Kind{prompt.Passcode, prompt.Password, prompt.Choose, prompt.Confirm} {
		r, now := prompttest.HostileRequest(kind), time.Now()
		plain, _ := ofScript(kind)
		mac, windows := dialog.MacInvocation(r, now), dialog.WindowsInvocation(r, now)
		if diff := cmp.Diff(dialog.WindowsInvocation(plain, now).Args, windows.Args); diff != "" {
			t.Errorf("%s: the program depends on the request:\n%s", kind, diff)
		}
		_, rest, _ := strings.Cut(mac.Input, "JSON.parse(")
		literal, program, _ := strings.Cut(rest, ");\n")
		_, rest, _ = strings.Cut(dialog.MacInvocation(plain, now).Input, "JSON.parse(")
		_, want, _ := strings.Cut(rest, ");\n")
		if program != want {
			t.Errorf("%s: the program depends on the request: %.80q", kind, program)
		}
		var encoded string
		if err := json.Unmarshal([]byte(literal), &encoded); err != nil {
			t.Fatalf("%s: the data is not one string: %v", kind, err)
		}
		for _, data := range []string{encoded, windows.Input} {
			var fields map[string]any
			if err := json.Unmarshal([]byte(data), &fields); err != nil || len(fields) != 9 {
				t.Errorf("%s: %d fields, %v", kind, len(fields), err)
			}
			if i := strings.IndexFunc(data, func(c rune) bool { return c != '\n' && (c < ' ' || c > '~') }); i >= 0 {
				t.Errorf("%s: %.40q is in the data", kind, data[i:])
			}
		}
	}
}

func TestScriptResults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		kind   prompt.Kind
		code   int
		output string
		want   string
		err    error
	}{
		{"passcode", prompt.Passcode, 0, `{"button":"OK","text":"123 456","gaveUp":false}`, "123 456", nil},
		{"password", prompt.Password, 0, `{"button":"OK","text":"p\u00e4ss\"\\"}`, `päss"\`, nil},
		{"denied", prompt.Passcode, 0, `{"button":"Deny","text":"123"}`, "", prompt.ErrDenied},
		{"not now", prompt.Passcode, 0, `{"button":"Not now"}`, "", prompt.ErrDismissed},
		{"gave up", prompt.Confirm, 0, `{"button":"Approve","gaveUp":true}`, "", prompt.ErrDismissed},
		{"approved", prompt.Confirm, 0, `{"button":"Approve"}`, "yes", nil},
		{"button of another question", prompt.Confirm, 0, `{"button":"OK"}`, "", prompt.ErrDismissed},
		{"choice", prompt.Choose, 0, `{"button":"OK","text":"2) corp_duo"}`, "corp_duo", nil},
		{"no choice", prompt.Choose, 0, `{"button":"OK","text":""}`, "", nil},
		{"denied in the list", prompt.Choose, 0, `{"button":"OK","text":"3) Deny this request"}`, "", prompt.ErrDenied},
		{"no desktop", prompt.Passcode, 2, "", "", prompt.ErrUnavailable},
		{"nonsense", prompt.Passcode, 0, "OK", "", prompt.ErrUnavailable},
		{"failed with an answer", prompt.Passcode, 1, `{"button":"OK","text":"1"}`, "", prompt.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, now := ofScript(c.kind)
			for _, v := range []dialog.Invocation{dialog.MacInvocation(r, now), dialog.WindowsInvocation(r, now)} {
				if got, err := v.Read(c.code, c.output); got != c.want || !errors.Is(err, c.err) {
					t.Errorf("Read = %q, %v; want %q, %v", got, err, c.want, c.err)
				}
			}
		})
	}
}

func TestScriptPrograms(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff([]string{"/usr/bin/osascript"}, dialog.MacPrograms(prompt.Passcode)); diff != "" {
		t.Errorf("macOS (-want +got):\n%s", diff)
	}
	if got := dialog.MacPrograms(prompt.Password); got[0] != "pinentry-mac" || got[len(got)-1] != "/usr/bin/osascript" {
		t.Errorf("macOS, password: %v", got)
	}
	if diff := cmp.Diff([]string{`D:\W\System32\WindowsPowerShell\v1.0\powershell.exe`}, dialog.WindowsPrograms(`D:\W`)); diff != "" {
		t.Errorf("Windows (-want +got):\n%s", diff)
	}
}

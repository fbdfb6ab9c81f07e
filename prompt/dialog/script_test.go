package dialog

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
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// golden compares with a file of testdata; it is written when
// STEPUP_UPDATE_GOLDEN is set.
func golden(t *testing.T, name, got string) {
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

// fullRequest has something in every field that is shown.
func fullRequest(kind prompt.Kind) prompt.Request {
	r := prompttest.Request(kind)
	r.Namespace, r.Queued, r.Attempt, r.Message = "team-a", 1, 2, "wrong code: wait for the next one"
	if kind == prompt.Push {
		r.Attempt, r.Method, r.MethodType, r.Message, r.Number = 1, "okta", "okta", "tap 42 in Okta Verify", "42"
	}
	return r
}

// scriptText is a dialog whose text does not depend on the clock.
func scriptText(kind prompt.Kind) dialogText {
	r, now := fullRequest(kind), time.Now()
	r.Namespace, r.Queued, r.Deadline = "", 0, now.Add(55*time.Second)
	return newDialogText(r, now)
}

func TestMacInvocation(t *testing.T) {
	t.Parallel()
	for _, kind := range prompttest.Kinds() {
		v := macInvocation(macScript)(scriptText(kind))
		if diff := cmp.Diff([]string{"-l", "JavaScript", "-"}, v.args); diff != "" {
			t.Errorf("arguments (-want +got):\n%s", diff)
		}
		golden(t, "macos-"+string(kind)+".js", v.input)
	}
}

func TestWindowsInvocation(t *testing.T) {
	t.Parallel()
	for _, kind := range prompttest.Kinds() {
		v := windowsInvocation(scriptText(kind))
		last := len(v.args) - 1
		if diff := cmp.Diff([]string{"-NoLogo", "-NoProfile", "-NonInteractive", "-Sta", "-EncodedCommand"}, v.args[:last]); diff != "" {
			t.Errorf("arguments (-want +got):\n%s", diff)
		}
		raw, err := base64.StdEncoding.DecodeString(v.args[last])
		if err != nil {
			t.Fatal(err)
		}
		units := make([]uint16, len(raw)/2)
		for i := range units {
			units[i] = binary.LittleEndian.Uint16(raw[2*i:])
		}
		golden(t, "../../windows.ps1", string(utf16.Decode(units))) // the same for every question
		golden(t, "windows-"+string(kind)+".json", v.input)
		if total := len(strings.Join(v.args, " ")); total > 30_000 { // CreateProcess takes 32767
			t.Errorf("the arguments have %d bytes", total)
		}
	}
}

// TestScriptsHostileText: strangers' text is data in both scripts.
func TestScriptsHostileText(t *testing.T) {
	t.Parallel()
	// The string literal in the program for macOS, and the program without it.
	split := func(v invocation) (literal, program string) {
		before, rest, _ := strings.Cut(v.input, "JSON.parse(")
		literal, after, _ := strings.Cut(rest, ");\n")
		return literal, before + after
	}
	for _, kind := range prompttest.Kinds()[:4] {
		hostile, plain := newDialogText(prompttest.HostileRequest(kind), time.Now()), scriptText(kind)
		windows := windowsInvocation(hostile)
		if diff := cmp.Diff(windowsInvocation(plain).args, windows.args); diff != "" {
			t.Errorf("%s: the program depends on the request:\n%s", kind, diff)
		}
		literal, program := split(macInvocation(macScript)(hostile))
		if _, want := split(macInvocation(macScript)(plain)); program != want {
			t.Errorf("%s: the program depends on the request: %.80q", kind, program)
		}
		var encoded string
		if err := json.Unmarshal([]byte(literal), &encoded); err != nil {
			t.Fatalf("%s: the data is not one string: %v", kind, err)
		}
		for _, data := range []string{encoded, windows.input} {
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
		{"passcode", prompt.Passcode, 0, `{"button":"Send","text":"123 456","gaveUp":false}`, "123 456", nil},
		{"password", prompt.Password, 0, `{"button":"Send","text":"p\u00e4ss\"\\"}`, `päss"\`, nil},
		{"denied", prompt.Passcode, 0, `{"button":"Deny","text":"123"}`, "", prompt.ErrDenied},
		{"not now", prompt.Passcode, 0, `{"button":"Not now"}`, "", prompt.ErrDismissed},
		{"gave up", prompt.Confirm, 0, `{"button":"Allow","gaveUp":true}`, "", prompt.ErrDismissed},
		{"approved", prompt.Confirm, 0, `{"button":"Allow"}`, "yes", nil},
		{"button of another question", prompt.Confirm, 0, `{"button":"Send"}`, "", prompt.ErrDismissed},
		{"choice", prompt.Choose, 0, `{"button":"Continue","text":"2) corp_duo"}`, "corp_duo", nil},
		{"no choice", prompt.Choose, 0, `{"button":"Continue","text":""}`, "", nil},
		{"denied in the list", prompt.Choose, 0, `{"button":"Continue","text":"3) Deny this request"}`, "", prompt.ErrDenied},
		{"no desktop", prompt.Passcode, 2, "", "", prompt.ErrUnavailable},
		{"nonsense", prompt.Passcode, 0, "OK", "", prompt.ErrUnavailable},
		{"failed with an answer", prompt.Passcode, 1, `{"button":"Send","text":"1"}`, "", prompt.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text := scriptText(c.kind)
			for _, v := range []invocation{macInvocation(macScript)(text), windowsInvocation(text)} {
				if got, err := v.read(c.code, c.output); got != c.want || !errors.Is(err, c.err) {
					t.Errorf("Read = %q, %v; want %q, %v", got, err, c.want, c.err)
				}
			}
		})
	}
}

func names(programs []program) string {
	var list []string
	for _, p := range programs {
		list = append(list, p.name)
	}
	return strings.Join(list, " ")
}

func TestPrograms(t *testing.T) {
	t.Parallel()
	x11, kde := prompt.Session{Display: ":0", BusAddress: "unix:path=/b"}, prompt.Session{Display: ":0", Desktop: "KDE"}
	on := func(s prompt.Session, r prompt.Request) []program { return sessionPrograms(r, s) }
	request := prompttest.Request
	for _, c := range []struct {
		name string
		got  []program
		want string
	}{
		{"passcode", on(x11, request(prompt.Passcode)), "zenity kdialog pinentry-gnome3 pinentry-gtk-2 pinentry-qt pinentry-qt6 pinentry-qt5 pinentry"},
		{"passcode on KDE", on(kde, request(prompt.Passcode)), "kdialog zenity pinentry-qt pinentry-qt6 pinentry-qt5 pinentry-gnome3 pinentry-gtk-2 pinentry"},
		{"password", on(x11, request(prompt.Password)), "pinentry-gnome3 pinentry-gtk-2 pinentry-qt pinentry-qt6 pinentry-qt5 pinentry zenity kdialog"},
		{"choice on KDE", on(kde, request(prompt.Choose)), "kdialog zenity"},
		{"choice on KDE without X", on(prompt.Session{WaylandDisplay: "wayland-0", Desktop: "KDE"}, request(prompt.Choose)), "zenity kdialog"},
		{"confirmation", on(x11, request(prompt.Confirm)), "zenity kdialog pinentry-gnome3 pinentry-gtk-2 pinentry-qt pinentry-qt6 pinentry-qt5 pinentry"},
		{"password and code on KDE", on(kde, prompttest.CodeToo(request(prompt.Password))),
			"pinentry-qt pinentry-qt6 pinentry-qt5 pinentry-gnome3 pinentry-gtk-2 pinentry kdialog zenity"},
		{"macOS", macPrograms(prompt.Passcode), "/usr/bin/osascript"},
		{"macOS, password", macPrograms(prompt.Password), "pinentry-mac /opt/homebrew/bin/pinentry-mac /usr/local/bin/pinentry-mac " +
			"/usr/local/MacGPG2/libexec/pinentry-mac.app/Contents/MacOS/pinentry-mac /usr/bin/osascript"},
		{"Windows", windowsPrograms(`D:\W`), `D:\W\System32\WindowsPowerShell\v1.0\powershell.exe`},
	} {
		if got := names(c.got); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

package dialog

import (
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/vault-stepup/stepup/prompt"
)

// The scripts that show one dialog and print its end as JSON. Each is the same for every
// question.
var (
	// macScript has %DATA% where the data stands, as a string literal of JSON. osascript
	// prints the value of the last expression.
	//go:embed macos.js
	macScript string

	// macPictureScript is macScript with a picture above the field; displayDialog has no
	// room for one.
	//go:embed macos_picture.js
	macPictureScript string

	// windowsScript reads the data from standard input; it is never part of the program.
	// Exit code 2: this process has no desktop.
	//go:embed windows.ps1
	windowsScript string
)

// A scriptData is the input of the scripts for macOS and Windows.
type scriptData struct {
	Title   string   `json:"title"`
	Text    string   `json:"text"`
	OK      string   `json:"ok"`
	Cancel  string   `json:"cancel"`
	Deny    string   `json:"deny"`
	Entry   bool     `json:"entry"`
	Hidden  bool     `json:"hidden"`
	Choices []string `json:"choices"`
	Seconds int      `json:"seconds"`
	Picture string   `json:"picture,omitempty"` // PNG in base64
}

func newScriptData(t dialogText) scriptData {
	r := t.request
	d := scriptData{
		Title:   r.Title(),
		Text:    joinBlocks(t.facts(), t.problem(), t.seedText(), t.instructions(true)),
		OK:      t.goLabel(),
		Cancel:  prompt.LabelNotNow,
		Deny:    prompt.LabelDeny,
		Entry:   r.Kind == prompt.Passcode || r.Kind == prompt.Password,
		Hidden:  r.Kind == prompt.Password,
		Choices: []string{},
		Seconds: t.windowSeconds(),
		Picture: base64.StdEncoding.EncodeToString(t.picture()),
	}
	if r.Kind == prompt.Choose {
		d.Choices = r.NumberedChoices()
	}
	return d
}

// encodeJSON returns v as one line of JSON in ASCII, in which no <, > or & is left. v has
// strings, numbers and booleans only, so it does not fail.
func encodeJSON(v any) string {
	line, err := json.Marshal(v)
	if err != nil {
		return "{}"
	}
	return string(line)
}

type scriptResult struct {
	Button string `json:"button"`
	Text   string `json:"text"`
	GaveUp bool   `json:"gaveUp"`
}

// read returns the answer that the end of a script means.
func (d scriptData) read(r prompt.Request, code int, output string) (string, error) {
	var result scriptResult
	if code != 0 || json.Unmarshal([]byte(output), &result) != nil {
		return "", failed("the dialog script", code)
	}
	switch {
	case result.GaveUp:
		return "", prompt.ErrDismissed // we take it down before that unless we are not there any more
	case result.Button == d.Deny, r.Kind == prompt.Choose && strings.HasSuffix(result.Text, ") "+denyChoice):
		return "", prompt.ErrDenied
	case result.Button != d.OK:
		return "", prompt.ErrDismissed
	case r.Kind == prompt.Confirm:
		return "yes", nil
	case r.Kind == prompt.Choose:
		return choiceOf(r, result.Text), nil
	}
	return result.Text, nil
}

// macInvocation asks through osascript. The data is part of the program there,
// as the value of a string that is written with JSON's escapes twice: all that is in it
// stays data.
func macInvocation(script string) func(dialogText) invocation {
	return func(t dialogText) invocation {
		d := newScriptData(t)
		if t.request.Kind == prompt.Choose { // its window has two buttons
			d.Choices = append(d.Choices, strconv.Itoa(len(d.Choices)+1)+") "+denyChoice)
		}
		return invocation{
			args:  []string{"-l", "JavaScript", "-"},
			input: strings.Replace(script, "%DATA%", encodeJSON(encodeJSON(d)), 1),
			read:  func(code int, output string) (string, error) { return d.read(t.request, code, output) },
		}
	}
}

// macPrograms lists the programs for a kind of question on macOS. A launchd agent
// has neither Homebrew nor GPG Suite in its PATH.
func macPrograms(kind prompt.Kind) []program {
	script := macProgram()
	if kind != prompt.Password {
		return []program{script}
	}
	var programs []program
	for _, path := range []string{
		"pinentry-mac", "/opt/homebrew/bin/pinentry-mac", "/usr/local/bin/pinentry-mac",
		"/usr/local/MacGPG2/libexec/pinentry-mac.app/Contents/MacOS/pinentry-mac",
	} {
		programs = append(programs, pinentryProgram(path, hasWindow))
	}
	return append(programs, script)
}

// macProgram asks with a picture where there is one, and without it where that
// fails.
func macProgram() program {
	picture, text := oneShot(osascript, macInvocation(macPictureScript)), oneShot(osascript, macInvocation(macScript))
	return program{name: osascript, ask: func(ctx context.Context, j job) (string, error) {
		if j.text.request.Enrolment != nil {
			if answer, err := picture.ask(ctx, j); !errors.Is(err, prompt.ErrUnavailable) {
				return answer, err
			}
		}
		return text.ask(ctx, j)
	}}
}

const osascript = "/usr/bin/osascript"

func windowsInvocation(t dialogText) invocation {
	d := newScriptData(t)
	return invocation{
		args:  []string{"-NoLogo", "-NoProfile", "-NonInteractive", "-Sta", "-EncodedCommand", encodedCommand(windowsScript)},
		input: encodeJSON(d) + "\n",
		read:  func(code int, output string) (string, error) { return d.read(t.request, code, output) },
	}
}

// encodedCommand writes a script as PowerShell takes it in an argument: base64
// of UTF-16, little-endian.
func encodedCommand(script string) string {
	units := utf16.Encode([]rune(script))
	raw := make([]byte, 0, 2*len(units))
	for _, u := range units {
		raw = binary.LittleEndian.AppendUint16(raw, u)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// windowsPrograms lists the one program for Windows: the PowerShell that is part of it.
// It has its full path, since a program of that name elsewhere in PATH could read the
// password.
func windowsPrograms(systemRoot string) []program {
	if systemRoot == "" {
		systemRoot = `C:\Windows`
	}
	return []program{oneShot(systemRoot+`\System32\WindowsPowerShell\v1.0\powershell.exe`, windowsInvocation)}
}

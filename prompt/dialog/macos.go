package dialog

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/vault-stepup/stepup/prompt"
)

// macScript shows one dialog and prints its end as JSON. It is the same for
// every question; %DATA% is a string literal of JSON. osascript prints the value of
// the last expression.
const macScript = `'use strict';
const q = JSON.parse(%DATA%);
const app = Application.currentApplication();
app.includeStandardAdditions = true;
function ask() {
  app.activate();
  try {
    if (q.choices.length > 0) {
      const picked = app.chooseFromList(q.choices, {
        withTitle: q.title, withPrompt: q.text, okButtonName: q.ok, cancelButtonName: q.cancel
      });
      return picked === false ? { button: q.cancel } : { button: q.ok, text: picked[0] };
    }
    const options = {
      withTitle: q.title, withIcon: 'caution', buttons: [q.deny, q.cancel, q.ok],
      defaultButton: q.entry ? q.ok : q.cancel, cancelButton: q.cancel
    };
    if (q.entry) {
      options.defaultAnswer = '';
      options.hiddenAnswer = q.hidden;
    }
    if (q.seconds > 0) {
      options.givingUpAfter = q.seconds;
    }
    const r = app.displayDialog(q.text, options);
    return r.gaveUp ? { gaveUp: true } : { button: r.buttonReturned, text: r.textReturned };
  } catch (e) {
    if (e.errorNumber === -128) {
      return { button: q.cancel };
    }
    throw e;
  }
}
JSON.stringify(ask());
`

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
		Title: t.title(), Text: joinBlocks(t.facts(), t.problem(), t.seedText(), t.instructions(true)), OK: prompt.LabelOK, Cancel: prompt.LabelNotNow, Deny: prompt.LabelDeny,
		Entry: r.Kind == prompt.Passcode || r.Kind == prompt.Password, Hidden: r.Kind == prompt.Password,
		Choices: []string{}, Seconds: t.seconds, Picture: base64.StdEncoding.EncodeToString(t.picture()),
	}
	switch r.Kind {
	case prompt.Confirm:
		d.OK = prompt.LabelApprove
	case prompt.Choose:
		d.Choices = choiceLines(r)
	}
	return d
}

// encode returns the data as one line of JSON in ASCII, in which no <, > or &
// is left. The data has strings, numbers and booleans only, so it does not fail.
func (d scriptData) encode() string {
	line, err := json.Marshal(d)
	if err != nil {
		return "{}"
	}
	return string(line)
}

// A scriptResult is the output of the scripts.
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
func macInvocation(t dialogText) invocation { return macScripted(t, macScript) }

func macScripted(t dialogText, script string) invocation {
	d := newScriptData(t)
	if t.seconds > 0 {
		d.Seconds = t.seconds + 2
	}
	if t.request.Kind == prompt.Choose { // its window has two buttons
		d.Choices = append(d.Choices, strconv.Itoa(len(d.Choices)+1)+") "+denyChoice)
	}
	literal, err := json.Marshal(d.encode())
	if err != nil {
		literal = []byte(`"{}"`)
	}
	return invocation{
		args:  []string{"-l", "JavaScript", "-"},
		input: strings.Replace(script, "%DATA%", string(literal), 1),
		read:  func(code int, output string) (string, error) { return d.read(t.request, code, output) },
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

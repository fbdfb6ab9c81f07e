package dialog

import (
	"context"
	"encoding/json"
	"errors"
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

// macPictureScript is macScript with a picture above the field; displayDialog has no
// room for one. It prints the same.
const macPictureScript = `'use strict';
ObjC.import('AppKit');
const q = JSON.parse(%DATA%);
const app = $.NSApplication.sharedApplication;
app.setActivationPolicy($.NSApplicationActivationPolicyAccessory);
const png = $.NSData.alloc.initWithBase64EncodedStringOptions(q.picture, 0);
const image = $.NSImage.alloc.initWithData(png);
const side = 300;
const view = $.NSImageView.alloc.initWithFrame($.NSMakeRect(0, 32, side, side));
view.image = image;
const field = $.NSTextField.alloc.initWithFrame($.NSMakeRect(0, 0, side, 24));
const box = $.NSView.alloc.initWithFrame($.NSMakeRect(0, 0, side, side + 32));
box.addSubview(view);
box.addSubview(field);
const alert = $.NSAlert.alloc.init;
alert.messageText = q.title;
alert.informativeText = q.text;
alert.accessoryView = box;
const names = [q.ok, q.cancel, q.deny];
names.forEach(function (name) { alert.addButtonWithTitle(name); });
alert.window.initialFirstResponder = field;
if (q.seconds > 0) {
  app.performSelectorWithObjectAfterDelayInModes('abortModal', $(), q.seconds, $(['NSModalPanelRunLoopMode']));
}
app.activateIgnoringOtherApps(true);
const first = 1000;
const button = names[Number(alert.runModal) - first];
JSON.stringify(button === undefined ? { gaveUp: true } : { button: button, text: ObjC.unwrap(field.stringValue) });
`

// macProgram asks with a picture where there is one, and without it where that
// fails.
func macProgram() program {
	picture, text := oneShot(osascript, macPictureInvocation), oneShot(osascript, macInvocation)
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

func macPictureInvocation(t dialogText) invocation { return macScripted(t, macPictureScript) }

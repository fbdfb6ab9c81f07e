package prompt

import (
	"context"
	"encoding/base64"
	"errors"
	"html"
	"strconv"
	"strings"
)

// The windows that show a new secret. It reaches the programs through standard
// input or an open file, never as an argument, which every user can read.

// withPicture puts a window with the secret of an enrolment before the one that
// asks for its first code: no dialog program has a field below a picture. Where
// only the code is asked for again, the picture is not shown again.
func withPicture(picture, ask dialog) dialog {
	return dialog{program: ask.program, ask: func(ctx context.Context, j job) (string, error) {
		if j.sheet.request.Enrolment != nil && j.sheet.note == "" {
			if _, err := picture.ask(ctx, j); err != nil {
				return "", err
			}
		}
		return ask.ask(ctx, j)
	}}
}

// groupsWide is how many groups of the secret stand on a line beside the picture.
const groupsWide = 4

// picture is the QR code as PNG; nil where there is none to show.
func (s sheet) picture() []byte {
	if s.request.Enrolment == nil {
		return nil
	}
	code, err := newQR(s.request.Enrolment.otpauth())
	if err != nil {
		return nil
	}
	picture, err := code.png()
	if err != nil {
		return nil
	}
	return picture
}

// lineSeparator breaks a line within a cell of a list, where a line end would begin
// the next cell.
const lineSeparator = "\u2028"

// zenityPicture shows the secret as a list of one row, which comes by standard
// input: a picture, which it opens as a file, and the text beside it.
func zenityPicture(s sheet) invocation {
	args := []string{
		"--title=" + s.title(), "--cancel-label=" + labelLeave, "--extra-button=" + labelDeny, "--ok-label=" + labelNext,
		"--list", "--imagelist", "--hide-header", "--column=picture", "--column=secret", "--width=760", "--height=540",
		"--text=" + escapeMarkup(joinBlocks(s.facts(), s.trouble(), nextTitle)),
	}
	if s.seconds > 0 {
		args = append(args, "--timeout="+strconv.Itoa(s.seconds+2))
	}
	lines := append([]string{scanTitle, typeTitle, ""}, seedWords(s.request, groupsWide)[1:]...)
	v := zenityInvocation(s)
	v.args, v.input, v.file = args, openFile+"\n"+strings.Join(lines, lineSeparator)+"\n", s.picture()
	v.read = func(code int, output string) (string, error) {
		if code == zenityOK {
			return "", nil // whatever row was selected
		}
		return readZenity(s.request, code, output)
	}
	return v
}

// kdialogPicture shows the secret as rich text with the picture in it.
func kdialogPicture(s sheet) invocation {
	var b strings.Builder
	paragraph := func(lines ...string) {
		for i, line := range lines {
			lines[i] = html.EscapeString(line)
		}
		b.WriteString("<p>" + strings.Join(lines, "<br>") + "</p>")
	}
	b.WriteString("<qt>")
	for block := range strings.SplitSeq(joinBlocks(s.facts(), s.trouble()), "\n\n") {
		paragraph(strings.Split(block, "\n")...)
	}
	paragraph(scanTitle)
	b.WriteString(`<p><img src="data:image/png;base64,` + base64.StdEncoding.EncodeToString(s.picture()) + `"></p>`)
	words := seedWords(s.request, groupsPerLine)
	words[0] = typeTitle
	paragraph(words...)
	paragraph(nextTitle)
	b.WriteString("</qt>\n")
	return invocation{
		args:  []string{"--title", s.title(), "--textbox", "-", "620", "720"},
		input: b.String(),
		read: func(code int, _ string) (string, error) {
			switch code {
			case 0:
				return "", nil
			case 1:
				return "", ErrDismissed
			}
			return "", failed("kdialog", code)
		},
	}
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

// macDialog asks with a picture where there is one, and without it where that
// fails.
func macDialog() dialog {
	picture, plain := oneShot(osascript, macPictureInvocation), oneShot(osascript, macInvocation)
	return dialog{program: osascript, ask: func(ctx context.Context, j job) (string, error) {
		if j.sheet.request.Enrolment != nil {
			if answer, err := picture.ask(ctx, j); !errors.Is(err, ErrUnavailable) {
				return answer, err
			}
		}
		return plain.ask(ctx, j)
	}}
}

const osascript = "/usr/bin/osascript"

func macPictureInvocation(s sheet) invocation { return macScripted(s, macPictureScript) }

package dialog

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"html"
	"image"
	"image/color"
	"image/png"
	"strconv"
	"strings"

	"github.com/vault-stepup/stepup/prompt"
)

// The windows that show a new secret. It reaches the programs through standard
// input or an open file, never as an argument, which every user can read.

// withPicture puts a window with the secret of an enrolment before the one that
// asks for its first code: no dialog program has a field below a picture. Where
// only the code is asked for again, the picture is not shown again.
func withPicture(picture, ask program) program {
	return program{name: ask.name, ask: func(ctx context.Context, j job) (string, error) {
		if j.text.request.Enrolment != nil && j.text.note == "" {
			if _, err := picture.ask(ctx, j); err != nil {
				return "", err
			}
		}
		return ask.ask(ctx, j)
	}}
}

// picture returns the QR code as PNG; nil where there is none to show.
func (t dialogText) picture() []byte {
	if t.request.Enrolment == nil {
		return nil
	}
	code, err := prompt.NewQRCode(t.request.Enrolment.URI())
	if err != nil {
		return nil
	}
	picture, err := encodePNG(code)
	if err != nil {
		return nil
	}
	return picture
}

// encodePNG draws a QR code with its margin. A code of the usual size is three hundred
// pixels wide.
func encodePNG(code prompt.QRCode) ([]byte, error) {
	const pixels = 6 // of a module
	width := (code.Size() + 2*prompt.QRMargin) * pixels
	picture := image.NewPaletted(image.Rect(0, 0, width, width), color.Palette{color.White, color.Black})
	for y := range width {
		for x := range width {
			if code.Dark(x/pixels-prompt.QRMargin, y/pixels-prompt.QRMargin) {
				picture.SetColorIndex(x, y, 1)
			}
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// lineSeparator breaks a line within a cell of a list, where a line end would begin
// the next cell.
const lineSeparator = "\u2028"

// zenityPicture shows the secret as a list of one row, which comes by standard
// input: a picture, which it opens as a file, and the text beside it.
func zenityPicture(t dialogText) invocation {
	args := []string{
		"--title=" + t.title(), "--cancel-label=" + prompt.LabelNotNow, "--extra-button=" + prompt.LabelDeny, "--ok-label=Continue",
		"--list", "--imagelist", "--hide-header", "--column=picture", "--column=secret", "--width=760", "--height=540",
		"--text=" + prompt.EscapeMarkup(joinBlocks(t.facts(), t.problem(), nextTitle)),
	}
	if t.seconds > 0 {
		args = append(args, "--timeout="+strconv.Itoa(t.seconds+2))
	}
	const groupsPerLine = 4 // beside the picture
	lines := append([]string{scanTitle, typeTitle, ""}, t.request.Enrolment.Lines(groupsPerLine)[1:]...)
	v := zenityInvocation(t)
	v.args, v.input, v.file = args, openFile+"\n"+strings.Join(lines, lineSeparator)+"\n", t.picture()
	v.read = func(code int, output string) (string, error) {
		if code == zenityOK {
			return "", nil // any row may be selected
		}
		return readZenity(t.request, code, output)
	}
	return v
}

// kdialogPicture shows the secret as rich text with the picture in it.
func kdialogPicture(t dialogText) invocation {
	var b strings.Builder
	paragraph := func(lines ...string) {
		for i, line := range lines {
			lines[i] = html.EscapeString(line)
		}
		b.WriteString("<p>" + strings.Join(lines, "<br>") + "</p>")
	}
	b.WriteString("<qt>")
	for block := range strings.SplitSeq(joinBlocks(t.facts(), t.problem()), "\n\n") {
		paragraph(strings.Split(block, "\n")...)
	}
	paragraph(scanTitle)
	b.WriteString(`<p><img src="data:image/png;base64,` + base64.StdEncoding.EncodeToString(t.picture()) + `"></p>`)
	words := t.request.Enrolment.Lines(prompt.GroupsPerLine)
	words[0] = typeTitle
	paragraph(words...)
	paragraph(nextTitle)
	b.WriteString("</qt>\n")
	return invocation{
		args:  []string{"--title", t.title(), "--textbox", "-", "620", "720"},
		input: b.String(),
		read: func(code int, _ string) (string, error) {
			switch code {
			case 0:
				return "", nil
			case 1:
				return "", prompt.ErrDismissed
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

// macProgram asks with a picture where there is one, and without it where that
// fails.
func macProgram() program {
	picture, plain := oneShot(osascript, macPictureInvocation), oneShot(osascript, macInvocation)
	return program{name: osascript, ask: func(ctx context.Context, j job) (string, error) {
		if j.text.request.Enrolment != nil {
			if answer, err := picture.ask(ctx, j); !errors.Is(err, prompt.ErrUnavailable) {
				return answer, err
			}
		}
		return plain.ask(ctx, j)
	}}
}

const osascript = "/usr/bin/osascript"

func macPictureInvocation(t dialogText) invocation { return macScripted(t, macPictureScript) }

package dialog

import (
	"context"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/qrcode"
)

// Exit codes that zenity is told to use, by its documented variables, because
// its own say too little: a window that is torn down ends with 0, and a
// display that cannot be opened with 1, as Cancel would.
const (
	zenityOK       = 20
	zenityTimeout  = 5 // some dialogs do not let it be changed
	zenityCanceled = 21
	zenityClosed   = 22 // also a button of ours up to zenity 3
	zenityExtra    = 23 // a button of ours from zenity 4 on
)

func zenityArgs(t dialogText, ok string) []string {
	args := []string{
		"--title=" + t.request.Title(),
		"--cancel-label=" + prompt.LabelNotNow,
		"--extra-button=" + prompt.LabelDeny,
	}
	if n := t.windowSeconds(); n > 0 {
		args = append(args, "--timeout="+strconv.Itoa(n))
	}
	return append(args, "--ok-label="+ok)
}

// zenityInvocation asks with zenity 3.20 or later.
func zenityInvocation(t dialogText) invocation {
	r, ok := t.request, t.goLabel()
	// An entry's text has no markup, but an underscore is taken for the mark of a
	// shortcut key.
	entryText := "--text=" + strings.ReplaceAll(t.text(true), "_", "__")
	var args []string
	switch {
	case r.Kind == prompt.Passcode:
		args = []string{"--entry", entryText}
	case r.Kind == prompt.Password:
		args = []string{"--entry", "--hide-text", entryText}
	case r.Kind == prompt.Choose:
		args = []string{
			"--width=480", "--height=360", "--list", "--text=" + markup(t.text(true)),
			"--column=#", "--column=choice", "--hide-column=1", "--print-column=1", "--hide-header",
		}
		for i, c := range r.NumberedChoices() {
			args = append(args, strconv.Itoa(i+1), c)
		}
	case r.Kind == prompt.Push:
		args = []string{"--question", "--no-wrap", "--default-cancel", "--text=" + `<span size="49152" weight="bold">` + r.Number + "</span>\n\n" + markup(t.text(true))}
	default:
		// Enter, meant for another window, must not be a yes.
		args = []string{"--question", "--no-wrap", "--default-cancel", "--text=" + markup(t.text(true))}
		for _, c := range r.Keeps {
			args = append(args, "--extra-button="+keepLabel(c.Word))
		}
		if len(r.Keeps) > 1 {
			// In a narrower window zenity 4 puts so many buttons below each other, off a small screen.
			args = append(args, "--width=850")
		}
	}
	return invocation{
		args: append(zenityArgs(t, ok), args...),
		icon: "--window-icon", // zenity 4 takes it for --icon
		env: []string{
			"ZENITY_OK=" + strconv.Itoa(zenityOK), "ZENITY_CANCEL=" + strconv.Itoa(zenityCanceled),
			"ZENITY_ESC=" + strconv.Itoa(zenityClosed), "ZENITY_EXTRA=" + strconv.Itoa(zenityExtra),
			// Without an OpenGL driver (a minimal X, VNC, some virtual machines) GTK 4 opens a
			// window and draws nothing in it. GTK 3 does not know the variable.
			"GSK_RENDERER=cairo",
		},
		read: func(code int, output string) (string, error) { return readZenity(r, code, output) },
	}
}

func readZenity(r prompt.Request, code int, output string) (string, error) {
	switch {
	case code == zenityOK && r.Kind == prompt.Confirm:
		return "yes", nil
	case code == zenityOK && r.Kind == prompt.Push:
		return "", nil
	case code == zenityOK && r.Kind == prompt.Choose:
		// A double click prints the choice twice, with a bar between.
		number, _, _ := strings.Cut(output, "|")
		return choiceOf(r, number), nil
	case code == zenityOK:
		return output, nil
	case slices.Contains([]int{zenityClosed, zenityExtra}, code) && output == prompt.LabelDeny:
		return "", prompt.ErrDenied
	case slices.Contains([]int{zenityClosed, zenityExtra}, code) && keepOf(r, output) != "":
		return prompt.WithKeep("yes", keepOf(r, output)), nil
	case code == zenityClosed, code == zenityCanceled, code == zenityTimeout:
		return "", prompt.ErrDismissed // time is over: we take it down before that, if we are there
	}
	return "", failed("zenity", code)
}

// keepLabel is the button of a yes with a choice.
func keepLabel(k prompt.Keep) string {
	return prompt.LabelAllow + map[prompt.Keep]string{
		prompt.KeepOnce: " once", prompt.KeepRule: " for the rule's time", prompt.KeepLock: " until a lock",
	}[k]
}

// keepOf is the choice of such a button; "" for any other.
func keepOf(r prompt.Request, button string) prompt.Keep {
	for _, c := range r.Keeps {
		if r.Kind == prompt.Confirm && button == keepLabel(c.Word) {
			return c.Word
		}
	}
	return ""
}

// choiceOf returns the choice with a number as NumberedChoices writes it, and "" for
// anything else, which fits no question.
func choiceOf(r prompt.Request, number string) string {
	number, _, _ = strings.Cut(number, ")")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > len(r.Choices) {
		return ""
	}
	return r.Choices[n-1]
}

// lineSeparator breaks a line within a cell of a list, where a line end would begin
// the next cell.
const lineSeparator = "\u2028"

// zenityPicture shows the secret as a list of one row, which comes by standard
// input: a picture, which it opens as a file, and the text beside it.
func zenityPicture(t dialogText) invocation {
	text := t.pictureText()
	height := min(380+18*countLines(text), 660) // the list with the picture scrolls where that is too little
	args := append(zenityArgs(t, prompt.LabelContinue),
		"--list", "--imagelist", "--hide-header", "--column=picture", "--column=secret", "--width=760", "--height="+strconv.Itoa(height),
		"--text="+markup(text))
	const groupsPerLine = 4 // beside the picture
	lines := append([]string{prompt.ScanSecret, typeTitle, ""}, t.request.Enrolment.Lines(groupsPerLine)[1:]...)
	v := zenityInvocation(t)
	v.args, v.input, v.file = args, memoryFilePath+"\n"+strings.Join(lines, lineSeparator)+"\n", t.picture()
	v.read = readPictureSeen(t.request)
	return v
}

// readPictureSeen reads the end of a window whose way forward says nothing more.
func readPictureSeen(r prompt.Request) func(int, string) (string, error) {
	return func(code int, output string) (string, error) {
		if code == zenityOK {
			return "", nil // any row may be selected
		}
		return readZenity(r, code, output)
	}
}

// zenityPictureProgram shows the secret with the zenity that is installed: from 4 on, a
// picture in a list is 16 pixels wide; before that, lines of text have gaps between them.
func zenityPictureProgram() program {
	list, text := oneShot("zenity", zenityPicture), oneShot("zenity", zenityTextPicture)
	return program{name: "zenity", ask: func(ctx context.Context, j job) (string, error) {
		if zenityMajor(ctx, j) >= 4 {
			return text.ask(ctx, j)
		}
		return list.ask(ctx, j)
	}}
}

// zenityMajor is the first number of the version; 0 when the program does not say one.
func zenityMajor(ctx context.Context, j job) int {
	const patience = 3 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, j.path, "--version")
	cmd.Env = j.environ
	hideConsole(cmd)
	output, err := prompt.RunProgram(cmd, 64)
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(output, ".")
	major, err := strconv.Atoi(first)
	if err != nil {
		return 0
	}
	return major
}

// zenityTextPicture shows the secret as text, which comes by standard input, with the
// code drawn in it. What has no room in the window stands below the code, and is scrolled to.
func zenityTextPicture(t dialogText) invocation {
	drawn := ""
	if code, err := qrcode.New(t.request.Enrolment.URI()); err == nil {
		drawn = strings.Join(code.HalfBlocks(qrcode.Margin), "\n")
	}
	v := zenityInvocation(t)
	v.args = append(zenityArgs(t, prompt.LabelContinue), "--text-info", "--font=Monospace 9", "--width=640", "--height=660")
	v.input = joinBlocks(t.pictureText(), prompt.ScanSecret+", or type the secret below it\n"+drawn, t.typedText()) + "\n"
	// Light on dark, as a dark theme has it, is a code that many readers do not take.
	v.env = append(v.env, "ADW_DEBUG_COLOR_SCHEME=prefer-light")
	v.read = readPictureSeen(t.request)
	return v
}

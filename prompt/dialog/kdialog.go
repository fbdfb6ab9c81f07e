package dialog

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/vault-stepup/stepup/prompt"
)

const (
	kdialogDeny = "deny"
	kdialogIcon = "--icon" // since 19.04 that of the window, too
)

// kdialogInvocation asks with KDE's kdialog. Its boxes for text have two
// buttons, of which neither can be a no.
func kdialogInvocation(t dialogText) invocation {
	r := t.request
	args := []string{"--title", t.request.Title()}
	buttons := func(yes string) []string {
		return append(args, "--yes-label", yes, "--no-label", prompt.LabelDeny, "--cancel-label", prompt.LabelNotNow, "--yesnocancel")
	}
	switch r.Kind {
	case prompt.Passcode:
		args = append(args, "--inputbox", richText(markup(t.text(false))), "")
	case prompt.Password:
		args = append(args, "--password", richText(markup(t.text(false))))
	case prompt.Choose:
		args = append(args, "--menu", richText(markup(t.text(true))))
		for i, c := range r.NumberedChoices() {
			args = append(args, strconv.Itoa(i+1), c)
		}
		args = append(args, kdialogDeny, denyChoice)
	case prompt.Push:
		args = append(buttons(t.goLabel()), richText("<h1>"+r.Number+"</h1>"+markup(t.text(true))))
	default:
		args = append(buttons(t.goLabel()), richText(markup(t.text(true))))
	}
	return invocation{
		args: args,
		icon: kdialogIcon,
		read: func(code int, output string) (string, error) { return readKdialog(r, code, output) },
	}
}

// richText is markup as Qt has it, where a line end is a blank and blanks that set a line in
// are lost. A menu would centre its lines.
func richText(tagged string) string {
	lines := strings.NewReplacer("\n"+inset, "<br>"+strings.Repeat("&nbsp;", len(inset)), "\n", "<br>")
	return `<qt><div align="left">` + lines.Replace(tagged) + "</div></qt>"
}

func readKdialog(r prompt.Request, code int, output string) (string, error) {
	buttons := r.Kind == prompt.Confirm || r.Kind == prompt.Push
	switch {
	case r.Kind == prompt.Confirm && code == 0:
		return "yes", nil
	case buttons && code == 1:
		return "", prompt.ErrDenied
	case buttons && code == 2, !buttons && code == 1:
		return "", prompt.ErrDismissed
	case r.Kind == prompt.Choose && code == 0 && output == kdialogDeny:
		return "", prompt.ErrDenied
	case r.Kind == prompt.Choose && code == 0:
		return choiceOf(r, output), nil
	case code == 0:
		return output, nil
	}
	return "", failed("kdialog", code)
}

// kdialogPicture shows the secret as rich text with the picture in it.
func kdialogPicture(t dialogText) invocation {
	words := t.request.Enrolment.Lines(prompt.GroupsPerLine)
	words[0] = typeTitle
	above := joinBlocks(t.facts(), t.problem(), prompt.ScanSecret)
	below := joinBlocks(strings.Join(words, "\n"), nextTitle)
	// One line: the window takes each for a text of its own.
	text := richText(markup(above) + "\n\n" + `<img src="data:image/png;base64,` + base64.StdEncoding.EncodeToString(t.picture()) + `">` +
		"\n\n" + prompt.EscapeMarkup(below))
	return invocation{
		args:  []string{"--title", t.request.Title(), "--textbox", "-", "620", "640"},
		input: text + "\n",
		icon:  kdialogIcon,
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

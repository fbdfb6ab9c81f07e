package dialog

import (
	"encoding/base64"
	"html"
	"strconv"
	"strings"

	"github.com/vault-stepup/stepup/prompt"
)

const kdialogDeny = "deny"

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
		args = append(args, "--inputbox", t.text(false), "")
	case prompt.Password:
		args = append(args, "--password", richText(t.text(false)))
	case prompt.Choose:
		args = append(args, "--menu", t.text(true))
		for i, c := range r.NumberedChoices() {
			args = append(args, strconv.Itoa(i+1), c)
		}
		args = append(args, kdialogDeny, denyChoice)
	case prompt.Push:
		args = append(buttons(t.goLabel()), "<qt><h1>"+r.Number+"</h1>"+strings.TrimPrefix(richText(t.text(true)), "<qt>"))
	default:
		args = append(buttons(t.goLabel()), t.text(true))
	}
	return invocation{
		args: args,
		read: func(code int, output string) (string, error) { return readKdialog(r, code, output) },
	}
}

// richText writes lines as markup: the box for passwords takes any text for it.
// Blanks that set a line in would be lost.
func richText(text string) string {
	lines := strings.NewReplacer("\n"+inset, "<br>"+strings.Repeat("&nbsp;", len(inset)), "\n", "<br>")
	return "<qt>" + lines.Replace(prompt.EscapeMarkup(text)) + "</qt>"
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
		args:  []string{"--title", t.request.Title(), "--textbox", "-", "620", "640"},
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

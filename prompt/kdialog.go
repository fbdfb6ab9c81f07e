package prompt

import (
	"strconv"
	"strings"
)

const kdialogDeny = "deny"

// kdialogInvocation asks with KDE's kdialog. Its boxes for text have two
// buttons, of which neither can be a no.
func kdialogInvocation(s sheet) invocation {
	r := s.request
	args := []string{"--title", s.title()}
	switch r.Kind {
	case Passcode:
		args = append(args, "--inputbox", s.text(false), "")
	case Password:
		args = append(args, "--password", richText(s.text(false)))
	case Choose:
		args = append(args, "--menu", s.text(true))
		for i, c := range choiceLines(r) {
			args = append(args, strconv.Itoa(i+1), c)
		}
		args = append(args, kdialogDeny, denyChoice)
	case Push:
		args = append(args, "--yes-label", labelSeen, "--no-label", labelDeny, "--cancel-label", labelLeave,
			"--yesnocancel", "<qt><h1>"+r.Number+"</h1>"+strings.TrimPrefix(richText(s.text(true)), "<qt>"))
	default:
		args = append(args, "--yes-label", labelApprove, "--no-label", labelDeny, "--cancel-label", labelLeave, "--yesnocancel", s.text(true))
	}
	return invocation{
		args: args,
		read: func(code int, output string) (string, error) { return readKdialog(r, code, output) },
	}
}

// richText writes lines as markup: the box for passwords takes any text for it.
// Blanks that set a line in would be lost.
func richText(text string) string {
	const blank = "&nbsp;"
	return "<qt>" + strings.NewReplacer("\n"+inset, "<br>"+strings.Repeat(blank, len(inset)), "\n", "<br>").Replace(escapeMarkup(text)) + "</qt>"
}

func readKdialog(r Request, code int, output string) (string, error) {
	buttons := r.Kind == Confirm || r.Kind == Push
	switch {
	case r.Kind == Confirm && code == 0:
		return "yes", nil
	case buttons && code == 1:
		return "", ErrDenied
	case buttons && code == 2, !buttons && code == 1:
		return "", ErrDismissed
	case r.Kind == Choose && code == 0 && output == kdialogDeny:
		return "", ErrDenied
	case r.Kind == Choose && code == 0:
		return choiceOf(r, output), nil
	case code == 0:
		return output, nil
	}
	return "", failed("kdialog", code)
}

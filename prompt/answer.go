package prompt

import (
	"slices"
	"strconv"
	"strings"
)

// Limits of an answer in bytes.
const (
	maxPasscode = 256  // a YubiKey OTP has 44 characters
	MaxAnswer   = 4096 // as much as is read from a program
)

// Check returns the answer as it counts: blanks around it dropped, those inside a
// passcode too; the choice that a number or a bare name stands for; "yes" for
// Confirm. A password loses only its line end; where r has a WithCode, the second line
// is a passcode, and no such line remains where that is empty. It returns ErrAnswer
// when the answer does not fit r, and ErrDenied when it is a no to a Confirm. The
// length of a passcode is not checked here. A choice behind the answer stays there, as
// [WithKeep] writes it.
func Check(r Request, answer string) (string, error) {
	answer, keep, fits := CutKeep(r, WithoutPasteMarks(answer))
	if !fits {
		return "", ErrAnswer
	}
	clean, err := check(r, answer)
	if err != nil {
		return "", err
	}
	return WithKeep(clean, keep), nil
}

// check is Check of an answer without a choice behind it.
func check(r Request, answer string) (string, error) {
	trimmed := strings.TrimSpace(answer)
	switch r.Kind {
	case Passcode:
		return checkPasscode(trimmed)
	case Password:
		return checkPassword(r, answer)
	case Choose:
		return checkChoice(r.Choices, trimmed)
	case Confirm:
		switch strings.ToLower(trimmed) {
		case "n", "no":
			return "", ErrDenied // a script that prints no and exits 0 means no
		}
		return "yes", nil
	}
	return "", ErrAnswer // a push is decided on the phone
}

// WithoutPasteMarks returns a line without the marks that a terminal puts around what is
// pasted, where a shell or an editor has left its bracketed paste on. They are not what the
// person typed.
func WithoutPasteMarks(line string) string {
	marks := strings.NewReplacer("\x1b[200~", "", "\x1b[201~", "")
	for strings.Contains(line, "\x1b[200~") || strings.Contains(line, "\x1b[201~") {
		line = marks.Replace(line) // what is left may make up another one
	}
	return line
}

func checkPassword(r Request, answer string) (string, error) {
	code := ""
	if r.TakesCode() {
		answer, code = CutCode(answer)
	}
	answer = strings.TrimRight(answer, "\r\n")
	if answer == "" || len(answer) > MaxAnswer {
		return "", ErrAnswer
	}
	if code = strings.TrimSpace(code); code == "" {
		return answer, nil
	}
	code, err := checkPasscode(code)
	if err != nil {
		return "", err
	}
	return answer + "\n" + code, nil
}

// CutCode splits the answer to a Password whose request had a WithCode. The code is ""
// when the answer has none.
func CutCode(answer string) (password, code string) {
	password, code, _ = strings.Cut(answer, "\n")
	return password, code
}

func checkPasscode(s string) (string, error) {
	s = strings.NewReplacer(" ", "", "\t", "", "\u00a0", "").Replace(s) // people type "123 456"
	// It becomes part of a header line: no control character may end that line.
	odd := strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
	if s == "" || len(s) > maxPasscode || odd || isKeepWord(s) {
		return "", ErrAnswer
	}
	return s, nil
}

func checkChoice(choices []string, s string) (string, error) {
	if slices.Contains(choices, s) {
		return s, nil
	}
	if n, err := strconv.Atoi(s); err == nil && n >= 1 && n <= len(choices) {
		return choices[n-1], nil
	}
	return choiceNamed(choices, s)
}

// choiceNamed finds the choice whose name s is, without the type behind it:
// "corp_totp" for "corp_totp (totp)", when only one has that name.
func choiceNamed(choices []string, s string) (string, error) {
	found := ""
	for _, choice := range choices {
		name, _, labelled := strings.Cut(choice, " (")
		if !labelled || name != s {
			continue
		}
		if found != "" {
			return "", ErrAnswer
		}
		found = choice
	}
	if found == "" {
		return "", ErrAnswer
	}
	return found, nil
}

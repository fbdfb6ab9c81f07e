package dialog

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/vault-stepup/stepup/prompt"
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

package mfa

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/url"
	"slices"
	"strings"
)

// A LoginBody is the body of a login as Vault reads it: an object of JSON, or a
// form. Fields go in without a change to the rest of it.
type LoginBody struct {
	raw  []byte
	form bool
}

// ErrLoginBody: Vault could not read the body as fields either, or only in part.
var ErrLoginBody = errors.New("body is neither a JSON object nor a form")

// ReadLoginBody takes a body for what Vault takes it for: a form when the content
// type says so and it does not begin like JSON (`curl -d` names the type of a form
// whatever it sends), and JSON under any other type (http/handler.go, isForm). An
// empty body has no fields. The LoginBody keeps raw.
func ReadLoginBody(contentType string, raw []byte) (LoginBody, error) {
	b := LoginBody{raw: raw, form: isForm(contentType, raw)}
	if b.form {
		if _, err := url.ParseQuery(string(raw)); err != nil {
			return LoginBody{}, ErrLoginBody
		}
		return b, nil
	}
	if b.blank() {
		return b, nil
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil || fields == nil {
		return LoginBody{}, ErrLoginBody
	}
	return b, nil
}

// blank: a body of JSON's own blanks is no JSON, and for Vault one without fields.
func (b LoginBody) blank() bool { return len(afterBlanks(b.raw)) == 0 }

func isForm(contentType string, raw []byte) bool {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil || media != "application/x-www-form-urlencoded" {
		return false
	}
	return !beginsLikeJSON(raw)
}

func beginsLikeJSON(raw []byte) bool {
	head := afterBlanks(raw)
	return len(head) > 0 && (head[0] == '{' || head[0] == '[')
}

func afterBlanks(raw []byte) []byte { return bytes.TrimLeft(raw, " \t\r\n") }

// Has reports whether a field has a value. Vault takes an empty one for none.
func (b LoginBody) Has(name string) bool { return b.Text(name) != "" }

// Text is the value of a field, "" when there is none. What is no string in JSON
// is given as it is written there.
func (b LoginBody) Text(name string) string {
	if b.form {
		values, _ := url.ParseQuery(string(b.raw))
		return strings.Join(values[name], ",") // as Vault joins them
	}
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(b.raw, &fields) // it could be read before
	value := fields[name]
	var text string
	if len(value) == 0 || json.Unmarshal(value, &text) == nil { // null is ""
		return text
	}
	return string(value)
}

// With returns the body with the field name set to value. Every other byte stays:
// numbers, spelling, order, and fields that come twice.
func (b LoginBody) With(name, value string) LoginBody {
	switch {
	case b.form:
		return LoginBody{raw: withFormField(b.raw, name, value), form: true}
	case b.blank():
		return LoginBody{raw: setField([]byte("{}"), name, quote(value))}
	}
	return LoginBody{raw: setField(b.raw, name, quote(value))}
}

// Bytes is the body as it is sent. The caller must not change it.
func (b LoginBody) Bytes() []byte { return b.raw }

// Format implements fmt.Formatter: a login's body holds a password.
func (b LoginBody) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, "[redacted]") }

// withFormField puts a field at the end of a form and takes those of its name out. Where
// what is left begins like JSON, an empty pair before it keeps it a form.
func withFormField(raw []byte, name, value string) []byte {
	pair := url.QueryEscape(name) + "=" + url.QueryEscape(value)
	var kept []string
	for p := range strings.SplitSeq(string(raw), "&") {
		key, _, _ := strings.Cut(p, "=")
		if key, _ = url.QueryUnescape(key); key != name && len(raw) > 0 {
			kept = append(kept, p)
		}
	}
	form := []byte(strings.Join(append(kept, pair), "&"))
	if beginsLikeJSON(form) {
		form = append([]byte("&"), form...)
	}
	return form
}

// setField returns an object of JSON with another value for a field. A field that is
// missing comes first.
func setField(object []byte, name string, value []byte) []byte {
	if from, to := findField(object, name); to > 0 {
		return splice(object, from, to, value)
	}
	open := bytes.IndexByte(object, '{') + 1
	insert := append(append(quote(name), ':'), value...)
	if rest := bytes.TrimSpace(object[open:]); rest[0] != '}' {
		insert = append(insert, ',')
	}
	return splice(object, open, open, insert)
}

// findField is where the last value of a field of a valid object stands, 0 and 0 where
// there is none: the last one counts for encoding/json, too.
func findField(object []byte, name string) (from, to int) {
	d := json.NewDecoder(bytes.NewReader(object))
	_, _ = d.Token() // {
	for d.More() {
		key, _ := d.Token()
		var value json.RawMessage
		if d.Decode(&value) != nil {
			break
		}
		if key == name {
			to = int(d.InputOffset())
			from = to - len(value)
		}
	}
	return from, to
}

func splice(body []byte, from, to int, insert []byte) []byte {
	return slices.Concat(body[:from], insert, body[to:])
}

// quote is a JSON string.
func quote(s string) []byte {
	quoted, _ := json.Marshal(s) // a string always marshals
	return quoted
}

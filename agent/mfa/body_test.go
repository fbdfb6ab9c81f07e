package mfa_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
)

const formType = "application/x-www-form-urlencoded"

func TestLoginBodyWith(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, contentType, body string
		want                    string // with nonce=N"1
	}{
		{"json", "application/json", `{"password":"p"}`, `{"nonce":"N\"1","password":"p"}`},
		{"json without a type", "", `{"password":"p"}`, `{"nonce":"N\"1","password":"p"}`},
		{"json under another type", "text/plain", `{"password":"p"}`, `{"nonce":"N\"1","password":"p"}`},
		{"json that curl calls a form", formType, ` {"password":"p"}`, ` {"nonce":"N\"1","password":"p"}`},
		{"nothing is encoded anew", "application/json", " {\n \"n\" : 1.50e3 , \"p\":\"\\u00e9/<\", \"big\":12345678901234567890}\n",
			" {\"nonce\":\"N\\\"1\",\n \"n\" : 1.50e3 , \"p\":\"\\u00e9/<\", \"big\":12345678901234567890}\n"},
		{"empty object", "", ` { } `, ` {"nonce":"N\"1" } `},
		{"no body", "", ``, `{"nonce":"N\"1"}`},
		{"blanks", "application/json", "\n", `{"nonce":"N\"1"}`},
		{"empty value gives way", "", `{"nonce": "" ,"password":"p"}`, `{"nonce": "N\"1" ,"password":"p"}`},
		{"null gives way", "", `{"password":"p","nonce":null}`, `{"password":"p","nonce":"N\"1"}`},
		{"the last of two counts", "", `{"nonce":"x","nonce":""}`, `{"nonce":"x","nonce":"N\"1"}`},
		{"an escaped name", "", `{"n\u006fnce":""}`, `{"n\u006fnce":"N\"1"}`},
		{"the same word further in", "", `{"a":{"nonce":""}}`, `{"nonce":"N\"1","a":{"nonce":""}}`},
		{"form", formType, `password=a%20b&x=%C3%A9`, `password=a%20b&x=%C3%A9&nonce=N%221`},
		{"form with a charset", formType + "; charset=utf-8", `password=p`, `password=p&nonce=N%221`},
		{"empty form", formType, ``, `nonce=N%221`},
		{"empty field of a form gives way", formType, `non%63e=&password=p`, `password=p&nonce=N%221`},
		{"empty pairs of a form stay", formType, `a=1&&b=2&`, `a=1&&b=2&&nonce=N%221`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, err := mfa.ReadLoginBody(tt.contentType, []byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if b.Has("nonce") || b.Text("nonce") != "" {
				t.Errorf("has a nonce: %q", b.Text("nonce"))
			}
			with := b.With("nonce", `N"1`)
			if d := cmp.Diff(tt.want, string(with.Bytes())); d != "" {
				t.Error(d)
			}
			if string(b.Bytes()) != tt.body || with.Text("nonce") != `N"1` {
				t.Errorf("body is now %q, nonce %q", b.Bytes(), with.Text("nonce"))
			}
		})
	}
}

func TestLoginBodyText(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, contentType, body, want string }{
		{"text", "", `{"passcode":"123456"}`, "123456"},
		{"a number", "", `{"passcode":123456}`, "123456"},
		{"false is a value", "", `{"passcode":false}`, "false"},
		{"null is none", "", `{"passcode":null}`, ""},
		{"another case is another name", "", `{"Passcode":"1"}`, ""},
		{"form", formType, "passcode=123456&a=b", "123456"},
		{"twice in a form", formType, "passcode=1&passcode=2", "1,2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, err := mfa.ReadLoginBody(tt.contentType, []byte(tt.body))
			if err != nil || b.Text("passcode") != tt.want {
				t.Errorf("%q, %v; want %q", b.Text("passcode"), err, tt.want)
			}
		})
	}
}

func TestLoginBodyThatIsNone(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][2]string{
		"a list": {"", `[1]`}, "null": {"", `null`}, "text": {"application/json", `"x"`}, "cut off": {"", `{"a":`},
		"more than one": {"", `{} {}`}, "a form without its type": {"", "password=p"},
		"a part of many": {"multipart/form-data; boundary=x", "--x\r\n"}, "an odd form": {formType, "a=%zz"}, "semicolons": {formType, "a=1;b=2"},
	} {
		if _, err := mfa.ReadLoginBody(b[0], []byte(b[1])); !errors.Is(err, mfa.ErrLoginBody) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoginBodyDoesNotPrint(t *testing.T) {
	t.Parallel()
	b, _ := mfa.ReadLoginBody("", []byte(`{"password":"hunter2"}`))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if got := fmt.Sprintf(verb, mfa.MountLogin{Body: b}); strings.Contains(got, "hunter2") || strings.Contains(got, "68756e") {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

// What goes in comes out, and everything else stays: its value, and its bytes but
// for the one place.
func FuzzLoginBody(f *testing.F) {
	f.Add("", `{"password":"p","n":1e3}`, "nonce", "abc")
	f.Add(formType, "a=b&c=%20", "method", "push")
	f.Add("", `{"passcode":"","passcode":{}}`, "passcode", "1\"\\\n")
	f.Add("", "", "a", "")
	f.Add(formType, "=&a&&a=1", "a", "x&y=z")
	f.Add(formType, "a=1&{=2", "a", "x") // not JSON in the end
	f.Add(formType+";x", " ", "a", "x")
	f.Add(formType+";x", "\v", "a", "x")
	f.Add("", "\u00a0", "a", "x")
	f.Fuzz(func(t *testing.T, contentType, body, name, value string) {
		b, err := mfa.ReadLoginBody(contentType, []byte(body))
		if err != nil || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return
		}
		with := b.With(name, value)
		again, err := mfa.ReadLoginBody(contentType, with.Bytes())
		if err != nil {
			t.Fatalf("%q cannot be read any more: %v", with.Bytes(), err)
		}
		if got := again.Text(name); got != value {
			t.Fatalf("%q has %q, want %q", with.Bytes(), got, value)
		}
		if again.Has(name) != (value != "") {
			t.Fatalf("Has(%q) in %q", name, with.Bytes())
		}
		before, after := fields(t, contentType, body), fields(t, contentType, string(with.Bytes()))
		delete(before, name)
		delete(after, name)
		if d := cmp.Diff(before, after); d != "" {
			t.Fatalf("other fields changed: %s", d)
		}
		if twice := with.With(name, value); !bytes.Equal(twice.Bytes(), with.Bytes()) {
			t.Fatalf("a second time gives %q after %q", twice.Bytes(), with.Bytes())
		}
	})
}

// fields are those of a body, as Vault's own decoders give them.
func fields(t *testing.T, contentType, body string) map[string]any {
	t.Helper()
	all := make(map[string]any)
	head := strings.TrimLeft(body, " \t\r\n")
	media, _, err := mime.ParseMediaType(contentType)
	if err == nil && media == formType && !strings.HasPrefix(head, "{") && !strings.HasPrefix(head, "[") {
		if values, err := url.ParseQuery(body); err == nil {
			for k, v := range values {
				all[k] = v
			}
			return all
		}
	}
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&all); err != nil && head != "" {
		t.Fatalf("%q is no JSON: %v", body, err)
	}
	return all
}

package mfa_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
)

const challengeBody = `{"request_id":"r","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":null,` +
	`"warnings":["A login request was issued that is subject to MFA validation. Please make sure to validate the login by sending another request to mfa/validate endpoint."],` +
	`"auth":{"client_token":"","accessor":"","policies":null,"mfa_requirement":{"mfa_request_id":"d0c9","mfa_constraints":{` +
	`"ups":{"any":[{"type":"totp","id":"m1","uses_passcode":true,"name":"corp"},{"type":"okta","id":"m2"}]},` +
	`"all":{"any":[{"type":"totp","id":"m3","uses_passcode":true,"name":"second","self_enrollment_enabled":true}]}}}},"mount_type":""}` + "\n"

func TestParse(t *testing.T) {
	t.Parallel()
	got, ok, err := mfa.Parse([]byte(challengeBody))
	if err != nil || !ok {
		t.Fatalf("Parse = ok %v, err %v", ok, err)
	}
	want := mfa.Challenge{RequestID: "d0c9", Constraints: []mfa.Constraint{
		{Name: "all", Any: []mfa.Method{{ID: "m3", Type: "totp", Name: "second", UsesPasscode: true, SelfEnrollment: true}}},
		{Name: "ups", Any: []mfa.Method{{ID: "m1", Type: "totp", Name: "corp", UsesPasscode: true}, {ID: "m2", Type: "okta"}}},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func requirementWith(constraints string) string {
	return `{"auth":{"mfa_requirement":{"mfa_request_id":"x","mfa_constraints":` + constraints + `}}}`
}

func TestParseOthers(t *testing.T) {
	t.Parallel()
	var many strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&many, `,"c%d":{"any":[{"id":"m"}]}`, i)
	}
	tests := map[string]struct {
		body string
		err  string // "" means: no challenge and no error
	}{
		"ordinary login":       {body: `{"auth":{"client_token":"t","mfa_requirement":null}}`},
		"no auth":              {body: `{"data":{"mfa_requirement":{"mfa_request_id":"x"}}}`},
		"empty requirement":    {body: `{"auth":{"mfa_requirement":{}}}`},
		"truncated":            {body: challengeBody[:len(challengeBody)-20], err: "not complete JSON"},
		"no constraints":       {body: requirementWith(`{}`), err: "is empty"},
		"null constraint":      {body: requirementWith(`{"a":null}`), err: "has no method"},
		"constraint, no any":   {body: requirementWith(`{"a":{"any":[]}}`), err: "has no method"},
		"null method":          {body: requirementWith(`{"a":{"any":[null]}}`), err: "without a usable id"},
		"method without id":    {body: requirementWith(`{"a":{"any":[{"type":"totp"}]}}`), err: "without a usable id"},
		"10,000 constraints":   {body: requirementWith(`{` + many.String()[1:] + `}`), err: "more than 64"},
		"name of 64 KiB":       {body: requirementWith(`{"` + strings.Repeat("a", 1<<16) + `":{"any":[{"id":"m"}]}}`), err: "too long"},
		"constraints, a list":  {body: requirementWith(`[]`), err: "not complete JSON"},
		"larger than the rest": {body: `{"x":"` + strings.Repeat("a", mfa.MaxBody) + `"}`, err: "more than"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, ok, err := mfa.Parse([]byte(tt.body))
			if ok || len(c.Constraints) > 0 {
				t.Errorf("Parse found a challenge: %+v", c)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("Parse error = %v, want %q", err, tt.err)
			}
		})
	}
}

func TestParseWrapped(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ body, want string }{
		"held login":          {`{"data":null,"wrap_info":{"token":"hvs.w","creation_path":"auth/x/login/a"},"warnings":null,"auth":null}`, "hvs.w"},
		"finished login":      {`{"wrap_info":{"token":"hvs.w","wrapped_accessor":"a"},"warnings":null}`, ""},
		"not wrapped":         {`{"wrap_info":null,"auth":{"client_token":"t"}}`, ""},
		"auth in the clear":   {`{"wrap_info":{"token":"hvs.w"},"auth":{"client_token":"t"}}`, ""},
		"no token":            {`{"wrap_info":{}}`, ""},
		"truncated":           {`{"wrap_info":{"token":"hvs.w"}`, ""},
		"of another protocol": {`{"wrap_info":"token"}`, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token, ok := mfa.ParseWrapped([]byte(tt.body))
			if ok != (tt.want != "") || ok && token != tt.want {
				t.Errorf("ParseWrapped = %q, %v, want %q", token, ok, tt.want)
			}
		})
	}
}

func TestScanner(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body  string
		want  mfa.Finding
		after int // bytes that must be enough; 0 means the whole body
	}{
		"challenge":                {challengeBody, mfa.Suspect, strings.Index(challengeBody, `{"mfa_request_id`) + 1},
		"auth null":                {`{"request_id":"a","data":{"auth":{"mfa_requirement":{}}},"auth":null}`, mfa.Ordinary, 0},
		"auth without requirement": {`{"auth":{"client_token":"t"},"x":{"mfa_requirement":{}}}`, mfa.Ordinary, 28},
		"requirement null":         {`{"auth":{"mfa_requirement":null}}`, mfa.Ordinary, 28},
		"deeper key of that name":  {`{"auth":{"metadata":{"mfa_requirement":{"a":1}}}}`, mfa.Ordinary, 0},
		"value of that name":       {`{"a":"auth","b":{"mfa_requirement":{}}}`, mfa.Ordinary, 0},
		"escaped quotes":           {`{"a":"\"auth\":{\"mfa_requirement\":{","auth":null}`, mfa.Ordinary, 0},
		"list":                     {`[{"auth":{"mfa_requirement":{}}}]`, mfa.Ordinary, 1},
		"lines of JSON":            {"{\"a\":1}\n{\"auth\":{\"mfa_requirement\":{}}}", mfa.Ordinary, 7},
		"spaces":                   {" {\n \"auth\" :\t{ \"mfa_requirement\" : { ", mfa.Suspect, 0},
		"lists before":             {`{"warnings":["a","auth",{"auth":{}}],"auth":{"p":[1,{"mfa_requirement":{}}],"mfa_requirement":{`, mfa.Suspect, 0},
		"unfinished":               {`{"data":{"a":"b"`, mfa.Undecided, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var atOnce, single mfa.Scanner
			if got := atOnce.Scan([]byte(tt.body)); got != tt.want {
				t.Errorf("Scan = %v, want %v", got, tt.want)
			}
			used := 0
			for used < len(tt.body) && single.Scan([]byte(tt.body[used:used+1])) == mfa.Undecided {
				used++
			}
			if got := single.Scan(nil); got != tt.want {
				t.Errorf("byte by byte = %v, want %v", got, tt.want)
			}
			if tt.after != 0 && used >= tt.after {
				t.Errorf("decided after %d bytes, want at most %d", used+1, tt.after)
			}
		})
	}
}

// The law: whatever Parse finds a challenge in, the Scanner suspects, however
// the bytes are cut; and what a Scanner calls ordinary has none.
func FuzzScanner(f *testing.F) {
	f.Add([]byte(challengeBody), 7)
	f.Add([]byte(`{"auth":null}`), 1)
	f.Add([]byte(`{"auth":{"mfa_requirement":{"mfa_request_id":"x","mfa_constraints":{"a":{"any":[{"id":"m"}]}}}}}`), 3)
	f.Fuzz(func(t *testing.T, body []byte, cut int) {
		_, found, err := mfa.Parse(body)
		if !json.Valid(body) || hasTwice(body) {
			return
		}
		var s mfa.Scanner
		if cut = max(1, cut); cut < len(body) {
			s.Scan(body[:cut])
			body = body[cut:]
		}
		finding := s.Scan(body)
		if found && finding != mfa.Suspect {
			t.Errorf("challenge was missed: %v", finding)
		}
		if err == nil && finding == mfa.Undecided {
			t.Error("complete JSON left the scanner undecided")
		}
	})
}

// hasTwice excludes what no JSON encoder writes: the deciding keys twice or
// in another spelling that encoding/json folds.
func hasTwice(body []byte) bool {
	lower := strings.ToLower(string(body))
	return strings.Count(lower, `auth`) > 1 || strings.Count(lower, "mfa_requirement") > 1 ||
		strings.Contains(lower, `\u`) || !strings.Contains(string(body), `"auth"`) || !strings.Contains(string(body), `"mfa_requirement"`) ||
		strings.ContainsAny(string(body), "ſK")
}

// The law: a challenge that Parse accepts can be met: an ID, and for every
// constraint at least one method with an ID.
func FuzzParse(f *testing.F) {
	f.Add([]byte(challengeBody))
	f.Add([]byte(requirementWith(`{"a":{"any":[{"id":"m","type":"duo"}]}}`)))
	f.Add([]byte(requirementWith(`{"a":null}`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, ok, err := mfa.Parse(body)
		if ok != (err == nil && c.RequestID != "") {
			t.Fatalf("ok %v, err %v, id %q", ok, err, c.RequestID)
		}
		if !ok {
			return
		}
		if len(c.Constraints) == 0 {
			t.Error("challenge without constraints")
		}
		for _, constraint := range c.Constraints {
			if len(constraint.Any) == 0 || constraint.Any[0].ID == "" {
				t.Errorf("constraint cannot be met: %+v", constraint)
			}
		}
	})
}

package mfa_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
)

const groupBody = `{"request_id":"","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":{"token":"hvs.WRAP",` +
	`"accessor":"0ad21b78-e9bb-64fa","ttl":3600,"creation_time":"2026-01-02T03:04:05Z","creation_path":"kv/data/pay"},"warnings":null,"auth":null,"mount_type":""}` + "\n"

func TestParseControlGroup(t *testing.T) {
	t.Parallel()
	with := func(old, by string) string { return strings.Replace(groupBody, old, by, 1) }
	tests := map[string]struct {
		body string
		ok   bool
	}{
		"a control group":               {groupBody, true},
		"accessor of a namespace":       {with("0ad21b78-e9bb-64fa", "abc.Nsid_1"), true},
		"data in the clear":             {with(`"data":null`, `"data":{}`), false},
		"token in the clear":            {with(`"auth":null`, `"auth":{"client_token":"t"}`), false},
		"around a token that is there":  {with(`"creation_path"`, `"wrapped_accessor":"a","creation_path"`), false},
		"no wrapping":                   {`{"data":null,"wrap_info":null}`, false},
		"no token":                      {with("hvs.WRAP", ""), false},
		"a token with a line break":     {with("hvs.WRAP", `a\r\nX-Evil: 1`), false},
		"no accessor":                   {with("0ad21b78-e9bb-64fa", ""), false},
		"an accessor with a command":    {with("0ad21b78-e9bb-64fa", "a; rm -rf /"), false},
		"an accessor with an expansion": {with("0ad21b78-e9bb-64fa", "$(id)"), false},
		"an accessor that is an option": {with("0ad21b78-e9bb-64fa", "-format=json"), false},
		"an accessor with an escape":    {with("0ad21b78-e9bb-64fa", `\u001b[31m`), false},
		"an endless accessor":           {with("0ad21b78-e9bb-64fa", strings.Repeat("a", 600)), false},
		"no path":                       {with("kv/data/pay", ""), false},
		"no life":                       {with("3600", "0"), false},
		"a negative life":               {with("3600", "-1"), false},
		"an endless life":               {with("3600", "9223372036854775807"), false},
		"a life that is no number":      {with("3600", `"1h"`), false},
		"too large":                     {with(`"warnings":null`, `"warnings":["`+strings.Repeat("x", mfa.MaxHeldAnswer)+`"]`), false},
		"broken off":                    {groupBody[:100], false},
		"a list":                        {"[]", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ok := mfa.ParseControlGroup([]byte(tt.body))
			if ok != tt.ok {
				t.Fatalf("ok = %v, %v", ok, g)
			}
			if ok && (g.Token != "hvs.WRAP" || g.TTL != time.Hour || g.Path != "kv/data/pay") {
				t.Errorf("%v %s", g, g.TTL)
			}
			if text := fmt.Sprintf("%v %+v %#v %s", g, g, g, g); strings.Contains(text, "WRAP") {
				t.Errorf("the token is printed: %s", text)
			}
		})
	}
}

func TestControlGroupAnswers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		made, namespace, path string
		want                  bool
	}{
		"the same path":                  {"kv/data/pay", "", "kv/data/pay", true},
		"in a namespace":                 {"kv/data/pay", "ns1", "kv/data/pay", true},
		"namespace in the path":          {"kv/data/pay", "", "ns1/kv/data/pay", true},
		"namespace in the creation path": {"ns1/kv/data/pay", "ns1/", "kv/data/pay", true},
		"a list":                         {"kv/metadata/", "", "kv/metadata/", true},
		"a list without its slash":       {"kv/metadata", "", "kv/metadata/", true},
		"another path":                   {"kv/data/other", "", "kv/data/pay", false},
		"half a segment":                 {"v/data/pay", "", "kv/data/pay", false},
		"wrapped again":                  {"sys/wrapping/rewrap", "", "sys/wrapping/rewrap", false},
		"no path":                        {"/", "", "kv/data/pay", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := (mfa.ControlGroup{Path: tt.made}).Answers(tt.namespace, tt.path); got != tt.want {
				t.Errorf("Answers = %v", got)
			}
		})
	}
}

func TestParseGroupState(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body string
		want mfa.GroupState
		ok   bool
	}{
		"of the documentation": {
			`{"data":{"approved":false,"request_path":"secret/foo","request_entity":{"id":"c8b6e404","name":"Bob"},"authorizations":[` +
				`{"entity_id":"6544a3ec","entity_name":"Abby Jones"},{"entity_id":"919084a4","entity_name":"James Franklin"}]}}`,
			mfa.GroupState{Requester: "Bob", By: []string{"Abby Jones", "James Franklin"}}, true,
		},
		"approved":            {`{"data":{"approved":true,"authorizations":null}}`, mfa.GroupState{Approved: true}, true},
		"people without name": {`{"data":{"approved":true,"request_entity":{"id":"c8"},"authorizations":[{"entity_id":"65"},{}]}}`, mfa.GroupState{Approved: true, Requester: "c8", By: []string{"65"}}, true},
		"does not say":        {body: `{"data":{"request_path":"x"}}`},
		"null":                {body: `{"data":{"approved":null}}`},
		"no data":             {body: `{"approved":true}`},
		"another kind of yes": {body: `{"data":{"approved":"true"}}`},
		"huge":                {body: `{"data":{"approved":true,"x":"` + strings.Repeat("a", mfa.MaxBody) + `"}}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := mfa.ParseGroupState([]byte(tt.body))
			if d := cmp.Diff(tt.want, got); d != "" || ok != tt.ok {
				t.Errorf("ok %v %s", ok, d)
			}
		})
	}
}

// The law: what is taken for a control group can be waited for safely: a token
// that fits into a header, an accessor that is one harmless word of a shell, a life
// that is a life. It holds for every prefix, too.
func FuzzControlGroup(f *testing.F) {
	f.Add([]byte(groupBody))
	f.Add([]byte(`{"wrap_info":{"token":"a b","accessor":"$(x)","ttl":1,"creation_path":"/"}}`))
	f.Add([]byte(`{"data":{},"wrap_info":{"token":"t","accessor":"a","ttl":9223372036854775807,"creation_path":"p"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		g, ok := mfa.ParseControlGroup(body)
		if !ok {
			if g != (mfa.ControlGroup{}) {
				t.Error("something of what was refused")
			}
			return
		}
		if len(body) > mfa.MaxHeldAnswer || g.Path == "" || g.TTL <= 0 || g.TTL > 366*24*time.Hour {
			t.Errorf("%v for %s", g, g.TTL)
		}
		for _, r := range g.Token {
			if r <= ' ' || r > '~' {
				t.Errorf("token has %q", r)
			}
		}
		if g.Accessor == "" || g.Accessor[0] == '-' || strings.Trim(g.Accessor, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" {
			t.Errorf("accessor %q", g.Accessor)
		}
	})
}

// The law: what is read is bounded, and only a plain true is an approval.
func FuzzGroupState(f *testing.F) {
	f.Add([]byte(`{"data":{"approved":true,"request_entity":{"id":"i","name":"n"},"authorizations":[{"entity_id":"i","entity_name":"n"}]}}`))
	f.Add([]byte(`{"data":{"approved":"true"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, ok := mfa.ParseGroupState(body)
		if len(s.By) > 32 || len(s.Requester) > 512 || s.Approved && !ok {
			t.Errorf("%d names, ok %v", len(s.By), ok)
		}
		for _, name := range s.By {
			if name == "" || len(name) > 512 {
				t.Errorf("name of %d bytes", len(name))
			}
		}
		if s.Approved && !strings.Contains(string(body), "true") {
			t.Error("approved without a true")
		}
	})
}

package devvault

import (
	"testing"
	"time"
)

func TestKV(t *testing.T) {
	t.Parallel()
	const (
		tail    = `,"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}` + "\n"
		rawTail = `,"wrap_info":null,"warnings":null,"auth":null,"mount_type":""}` // no line end, as Vault
		meta    = `"created_time":"TIME","custom_metadata":null,"deletion_time":`
		invalid = envelopeHead + `"data":null,"wrap_info":null,"warnings":["` + textKVInvalid + `"],"auth":null,"mount_type":""}`
	)
	version := func(n string) string {
		return envelopeHead + `"data":{` + meta + `"","destroyed":false,"version":` + n + `}` + tail
	}
	read := func(data, n string) string {
		return envelopeHead + `"data":{"data":` + data + `,"metadata":{` + meta + `"","destroyed":false,"version":` + n + `}}` + tail
	}
	keys := func(list string) string { return envelopeHead + `"data":{"keys":` + list + `}` + tail }
	merge := []string{"Content-Type", "application/merge-patch+json"}
	_, c := newFixture(t, Config{})
	steps := []struct { // one after the other, on one server
		name, method, path, body string
		headers                  []string
		status                   int
		want                     string
	}{
		{"put", "POST", "/v1/kv/data/s", `{"data":{"a":"b","n":1.50}}`, nil, 200, version("1")},
		{"put with check and set", "PUT", "/v1/kv/data/s", `{"data":{"a":"c"},"options":{"cas":1}}`, nil, 200, version("2")},
		{"get", "GET", "/v1/kv/data/s", "", nil, 200, read(`{"a":"c"}`, "2")},
		{"get version, numbers as written", "GET", "/v1/kv/data/s?version=1", "", nil, 200, read(`{"a":"b","n":1.50}`, "1")},
		{"patch", "PATCH", "/v1/kv/data/s", `{"data":{"z":{"y":1},"a":null}}`, merge, 200, version("3")},
		{"get patched", "GET", "/v1/kv/data/s", "", nil, 200, read(`{"z":{"y":1}}`, "3")},
		{"patch inside", "PATCH", "/v1/kv/data/s", `{"data":{"z":{"x":2}}}`, merge, 200, version("4")},
		{"get patched inside", "GET", "/v1/kv/data/s", "", nil, 200, read(`{"z":{"x":2,"y":1}}`, "4")},
		{"patch nothing", "PATCH", "/v1/kv/data/none", `{"data":{"z":1}}`, merge, 404, ""},
		{"put in a folder", "POST", "/v1/kv/data/f/g", `{"data":{}}`, nil, 200, version("1")},
		{"list", "LIST", "/v1/kv/metadata", "", nil, 200, keys(`["f/","s"]`)},
		{"list by query", "GET", "/v1/kv/metadata/?list=true", "", nil, 200, keys(`["f/","s"]`)},
		{"list a folder", "LIST", "/v1/kv/metadata/f", "", nil, 200, keys(`["g"]`)},
		{"list nothing", "LIST", "/v1/kv/metadata/none", "", nil, 404, "{\"errors\":[]}\n"},
		{"delete", "DELETE", "/v1/kv/data/s", "", nil, 204, ""},
		{"get deleted", "GET", "/v1/kv/data/s", "", nil, 404, envelopeHead + `"data":{"data":null,"metadata":{` + meta + `"TIME","destroyed":false,"version":4}}` + rawTail},
		{"patch deleted", "PATCH", "/v1/kv/data/s", `{"data":{"z":1}}`, merge, 404, envelopeHead + `"data":{` + meta + `"TIME","destroyed":false,"version":4}` + rawTail},
		{"undelete, as the CLI does", "POST", "/v1/kv/undelete/s", `{"versions":["4"]}`, nil, 204, ""},
		{"get again", "GET", "/v1/kv/data/s", "", nil, 200, read(`{"z":{"x":2,"y":1}}`, "4")},
		{"destroy", "POST", "/v1/kv/destroy/s", `{"versions":[4,99,0]}`, nil, 204, ""},
		{"get destroyed", "GET", "/v1/kv/data/s", "", nil, 404, envelopeHead + `"data":{"data":null,"metadata":{` + meta + `"","destroyed":true,"version":4}}` + rawTail},
		{"delete all", "DELETE", "/v1/kv/metadata/s", "", nil, 204, ""},
		{"get nothing", "GET", "/v1/kv/data/s", "", nil, 404, "{\"errors\":[]}\n"},
		{"delete nothing", "DELETE", "/v1/kv/data/none", "", nil, 204, ""},
		{"version 1 path", "GET", "/v1/kv/foo", "", nil, 404, invalid},
		{"root", "GET", "/v1/kv", "", nil, 404, invalid},
		{"config", "GET", "/v1/kv/config", "", nil, 200, envelopeHead + `"data":{"cas_required":false,"delete_version_after":"0s","max_versions":0}` + tail},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			c := c.in(t)
			c.do(s.method, s.path, s.body, s.headers...).want(t, s.status, s.want)
		})
	}
}

func TestKVMetadata(t *testing.T) {
	t.Parallel()
	s, c := newFixture(t, Config{})
	c.clock.Add(time.Minute)
	check(t, s.PutSecret("secret/x", map[string]any{"a": "c"}))
	got := c.do("GET", "/v1/secret/metadata/x", nil)
	if got.at(t, "data", "current_version") != 2.0 || got.text(t, "data", "updated_time") != "2026-03-01T12:01:00Z" ||
		got.text(t, "data", "versions", "1", "created_time") != "2026-03-01T12:00:00Z" {
		t.Errorf("metadata: %s", got.body)
	}
}

func TestPutSecretNeedsAStore(t *testing.T) {
	t.Parallel()
	s, c := newFixture(t, Config{})
	if err := s.PutSecret("other/x", nil); err == nil {
		t.Error("a secret was put where no store is")
	}
	s.AddKV("other")
	if err := s.PutSecret("other/x", map[string]any{"k": "v"}); err != nil {
		t.Error(err)
	}
	c.do("GET", "/v1/other/data/x", nil).wantAt(t, "v", "data", "data", "k")
}

func TestTransitIsAPlainPost(t *testing.T) {
	t.Parallel()
	_, c := newFixture(t, Config{})
	first := c.do("POST", "/v1/transit/sign/k", `{"input":"aGVsbG8="}`)
	first.want(t, 200, envelopeHead+`"data":{"key_version":1,"signature":"`+first.text(t, "data", "signature")+
		`"},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"transit"}`+"\n")
	if again := c.do("PUT", "/v1/transit/sign/k", `{"input":"aGVsbG8="}`); again.text(t, "data", "signature") != first.text(t, "data", "signature") {
		t.Error("the same input gave another signature")
	}
	if other := c.do("POST", "/v1/transit/sign/l", `{"input":"aGVsbG8="}`); other.text(t, "data", "signature") == first.text(t, "data", "signature") {
		t.Error("another key gave the same signature")
	}
}

func TestCubbyholeBelongsToItsToken(t *testing.T) {
	t.Parallel()
	s, c := newFixture(t, Config{})
	alice, bob := s.CreateToken([]string{"default"}, "alice"), s.CreateToken([]string{"default"}, "bob")
	c.as(alice).do("POST", "/v1/cubbyhole/a/b", `{"k":"v"}`).want(t, 204, "")
	c.as(alice).do("GET", "/v1/cubbyhole/a/b", nil).wantAt(t, "v", "data", "k")
	c.as(alice).do("LIST", "/v1/cubbyhole/a", nil).want(t, 200, envelopeHead+`"data":{"keys":["b"]},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"cubbyhole"}`+"\n")
	c.as(bob).do("GET", "/v1/cubbyhole/a/b", nil).want(t, 404, "{\"errors\":[]}\n")
	c.as(alice).do("DELETE", "/v1/cubbyhole/a/b", nil).want(t, 204, "")
	c.as(alice).do("GET", "/v1/cubbyhole/a/b", nil).want(t, 404, "{\"errors\":[]}\n")
}

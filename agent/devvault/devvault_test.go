package devvault

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// A refusal is a request and the error answer that it gets.
type refusal struct {
	name, token, method, path string
	body                      any
	headers                   []string
	status                    int
	want                      string // the one error text; "" is an empty list
}

func checkRefusals(t *testing.T, c client, tests []refusal) {
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := c.as(tt.token).in(t)
			got := c.do(tt.method, tt.path, tt.body, tt.headers...)
			if tt.want == "" {
				got.want(t, tt.status, "{\"errors\":[]}\n")
			} else {
				got.refused(t, tt.status, tt.want)
			}
			for k, v := range map[string]string{
				"Cache-Control": "no-store", "Content-Type": "application/json",
				"Strict-Transport-Security": "max-age=31536000; includeSubDomains",
			} {
				if got.header.Get(k) != v {
					t.Errorf("%s: %q, want %q", k, got.header.Get(k), v)
				}
			}
		})
	}
}

// Statuses and texts were read off a Vault 1.21.0.
func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	s, root := newFixture(t, Config{})
	alice := s.CreateToken([]string{"default", "dev"}, "alice")
	merge := []string{"Content-Type", "application/merge-patch+json"}
	checkRefusals(t, root, []refusal{
		{"no token", "", "GET", "/v1/secret/data/x", nil, nil, 403, "permission denied"},
		{"unknown token", "hvs.NOPE", "GET", "/v1/secret/data/x", nil, nil, 403, textInvalidToken},
		{"denied path", alice, "GET", "/v1/secret/data/deny", nil, nil, 403, textDenied},
		{"no capability", alice, "DELETE", "/v1/secret/data/x", nil, nil, 403, textDenied},
		{"update where only create is granted", alice, "POST", "/v1/secret/data/x", `{"data":{}}`, nil, 403, textDenied},
		{"no rule, no mount", alice, "GET", "/v1/nomount/x", nil, nil, 403, textDenied},
		{"HEAD as a user", alice, "OPTIONS", "/v1/secret/data/x", nil, nil, 403, textDenied},
		{"no mount", "root", "GET", "/v1/nomount/x", nil, nil, 404, `no handler for route "nomount/x". route entry not found.`},
		{"no path", "root", "GET", "/v1/", nil, nil, 404, `no handler for route "". route entry not found.`},
		{"no secret", "root", "GET", "/v1/secret/data/none", nil, nil, 404, ""},
		{"no version", "root", "GET", "/v1/secret/data/x?version=9", nil, nil, 404, ""},
		{"no such sys path", "root", "GET", "/v1/sys/foo", nil, nil, 404, textNoPath},
		{"no such auth path", "root", "GET", "/v1/auth/userpass/foo", nil, nil, 404, textNoPath},
		{"OPTIONS", "root", "OPTIONS", "/v1/secret/data/x", nil, nil, 405, textUnsupported},
		{"unknown method", "root", "BREW", "/v1/secret/data/x", nil, nil, 405, ""},
		{"list that is no bool", "root", "GET", "/v1/secret/data/x?list=maybe", nil, nil, 400, ""},
		{"trailing slash", "root", "POST", "/v1/secret/data/x/", `{"data":{}}`, nil, 400, textTrailingSlash},
		{"trailing slash without a token", "", "POST", "/v1/auth/userpass/login/", `{}`, nil, 400, textTrailingSlash},
		{"patch with the wrong type", "root", "PATCH", "/v1/secret/data/x", `{}`, []string{"Content-Type", "application/json"}, 415, "PATCH requires Content-Type of application/merge-patch+json, provided application/json"},
		{"patch without a type", "root", "PATCH", "/v1/secret/data/x", `{}`, nil, 400, "mime: no media type"},
		{"patch without data", "root", "PATCH", "/v1/secret/data/x", `{}`, merge, 400, textKVNoData},
		{"array", "root", "POST", "/v1/secret/data/x", `[1]`, nil, 400, "error parsing JSON: failed to parse JSON input: json: cannot unmarshal array into Go value of type map[string]interface {}"},
		{"form", "root", "POST", "/v1/secret/data/x", `a=b`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 400, textKVNoData},
		{"no body", "root", "POST", "/v1/secret/data/x", nil, nil, 400, textKVNoData},
		{"check and set", "root", "POST", "/v1/secret/data/x", `{"data":{},"options":{"cas":7}}`, nil, 400, textKVCas},
		{"no versions", "root", "POST", "/v1/secret/destroy/x", `{}`, nil, 400, "no version number provided"},
		{"body too large", "root", "POST", "/v1/secret/data/x", strings.Repeat(" ", maxBody+1), nil, 413, "http: request body too large"},
		{"MFA header without name", "root", "GET", "/v1/secret/data/x", nil, []string{"X-Vault-MFA", ":1"}, 400, `failed to parse X-Vault-MFA header: invalid data in header "X-Vault-MFA"; missing method name or ID`},
		{"MFA header without value", "root", "GET", "/v1/secret/data/x", nil, []string{"X-Vault-MFA", "a:"}, 400, `failed to parse X-Vault-MFA header: invalid data in header "X-Vault-MFA"; missing method value`},
	})
}

func TestRefusedByPath(t *testing.T) {
	t.Parallel()
	s, root := newFixture(t, Config{})
	alice := s.CreateToken([]string{"default", "dev"}, "alice")
	checkRefusals(t, root, []refusal{
		{"wrong password", "", "POST", "/v1/auth/userpass/login/alice", `{"password":"no"}`, nil, 400, "invalid username or password"},
		{"nobody", "", "POST", "/v1/auth/userpass/login/nobody", `{"password":"no"}`, nil, 400, "invalid username or password"},
		{"no password", "", "POST", "/v1/auth/userpass/login/alice", `{}`, nil, 400, "invalid credentials"},
		{"reading a login", "", "GET", "/v1/auth/userpass/login/alice", nil, nil, 405, "unsupported operation"},
		{"login at no mount", "", "POST", "/v1/auth/nope/login/alice", `{"password":"pw"}`, nil, 403, "permission denied"},
		{"unknown role", "root", "POST", "/v1/auth/token/create/none", `{}`, nil, 400, "unknown role none"},
		{"create without the right", alice, "POST", "/v1/auth/token/create", `{}`, nil, 403, textDenied},
		{"bad ttl", "root", "POST", "/v1/auth/token/create", `{"ttl":"bad"}`, nil, 400, `strconv.ParseInt: parsing "ba": invalid syntax`},
		{"negative uses", "root", "POST", "/v1/auth/token/create", `{"num_uses":-1}`, nil, 400, "number of uses cannot be negative"},
		{"renewing root", "root", "POST", "/v1/auth/token/renew-self", `{}`, nil, 400, "lease is not renewable"},
		{"capabilities of nothing", "root", "POST", "/v1/sys/capabilities-self", `{}`, nil, 400, "paths must be supplied"},
		{"reading capabilities", "root", "GET", "/v1/sys/capabilities-self", nil, nil, 405, textUnsupported},
		{"monitor as a user", alice, "GET", "/v1/sys/monitor", nil, nil, 403, textDenied},
		{"mount that is not there", alice, "GET", "/v1/sys/internal/ui/mounts/nope/x", nil, nil, 403, `preflight capability check returned 403, please ensure client's policies grant access to path "nope/x/"`},
		{"mount without a right", alice, "GET", "/v1/sys/internal/ui/mounts/kv", nil, nil, 403, `preflight capability check returned 403, please ensure client's policies grant access to path "kv/"`},
		{"mount without a token", "", "GET", "/v1/sys/internal/ui/mounts/secret", nil, nil, 403, "permission denied"},
		{"mount with a bad token", "hvs.NOPE", "GET", "/v1/sys/internal/ui/mounts/secret", nil, nil, 403, textInvalidToken},
		{"bad signature input", "root", "POST", "/v1/transit/sign/k", `{"input":"!"}`, nil, 400, "unable to decode input: illegal base64 data at input byte 0"},
		{"reading a signature", "root", "GET", "/v1/transit/sign/k", nil, nil, 405, textUnsupported},
		{"relative cubbyhole write", "root", "POST", "/v1/cubbyhole/..%2fa", `{"a":1}`, nil, 500, textInternal},
		{"relative cubbyhole read", "root", "GET", "/v1/cubbyhole/..%2fa", nil, nil, 400, textRelativeRead},
		{"mount with slashes at its end", "root", "GET", "/v1/sys/internal/ui/mounts/nope%2f%2f", nil, nil, 403, fmt.Sprintf(textMountPreflight, "nope//")},
		{"SCAN", "root", "SCAN", "/v1/secret/metadata/", nil, nil, 405, ""},
		{"empty cubbyhole write", "root", "POST", "/v1/cubbyhole/a", `{}`, nil, 500, "1 error occurred:\n\t* missing data fields\n\n"},
	})
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, path string
		clean      int
		status     int
		location   string
	}{
		{"double slash", "/v1/secret//data/x?a=b&a=c", 0, 301, "/v1/secret/data/x?a=b&a=c"},
		{"dots and slash at the end", "/v1/secret/../data/x/", 0, 301, "/v1/data/x/"},
		{"as built with Go 1.26", "/v1/secret//data/x", 307, 307, "/v1/secret/data/x"},
		{"root", "/", 0, 307, "/ui/"},
		{"elsewhere", "/foo", 0, 307, "/ui/"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, c := newFixture(t, Config{CleanStatus: tt.clean})
			got := c.do("GET", tt.path, nil)
			if got.status != tt.status || got.header.Get("Location") != tt.location {
				t.Errorf("got %d to %q, want %d to %q", got.status, got.header.Get("Location"), tt.status, tt.location)
			}
		})
	}
}

func TestEscapedSlashIsPartOfThePath(t *testing.T) {
	t.Parallel()
	s, c := newFixture(t, Config{})
	check(t, s.PutSecret("secret/data/a/b", map[string]any{"k": "v"}))
	c.do("GET", "/v1/secret/data/a%2Fb", nil).wantStatus(t, 200)
}

// The same table is asked of a real Vault in e2e (TestFactsOfSpellings): what Vault cleans is the
// path as it was sent, and what is encoded in it arrives decoded, unclean and as a path of its own.
func TestSpellings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		sent     string
		location string // of the redirect; "" when it is routed
		routed   string // the path that policies and mounts see
	}{
		{"nowhere/x", "", "nowhere/x"},
		{"nowhere/%78", "", "nowhere/x"},
		{"nowhere/a%2Fb", "", "nowhere/a/b"},
		{"nowhere/a%252Fb", "", "nowhere/a%2Fb"},
		{"nowhere/..%2fx", "", "nowhere/../x"},
		{"nowhere/..%2f..%2fx", "", "nowhere/../../x"},
		{"nowhere/%2e%2e/x", "", "nowhere/../x"},
		{"nowhere/%2e/x", "", "nowhere/./x"},
		{"nowhere/%2fx", "", "nowhere//x"},
		{"nowhere/x%2f", "", "nowhere/x/"},
		{"%6eowhere/x", "", "nowhere/x"},
		{"%2fnowhere/x", "", "/nowhere/x"},
		{"nowhere//x", "/v1/nowhere/x", ""},
		{"nowhere/./x", "/v1/nowhere/x", ""},
		{"nowhere/a/../x", "/v1/nowhere/x", ""},
		{"nowhere/a/../x/", "/v1/nowhere/x/", ""},
		{"nowhere//a%2fb", "/v1/nowhere/a%252fb", ""}, // the mux escapes it once more
		{"nowhere/%2e%2e/../x", "/v1/nowhere/x", ""},
		{"../v1%2fnowhere/x", "/v1%252fnowhere/x", ""},
	}
	_, c := newFixture(t, Config{})
	for _, tt := range tests {
		got := c.do("GET", "/v1/"+tt.sent, nil)
		if tt.location != "" {
			if got.status != 301 || got.header.Get("Location") != tt.location {
				t.Errorf("%s: %d to %q, want 301 to %q", tt.sent, got.status, got.header.Get("Location"), tt.location)
			}
			continue
		}
		t.Log(tt.sent)
		got.refused(t, 404, fmt.Sprintf(textNoRoute, tt.routed))
	}
}

func TestPoliciesMatchThePathAsItArrives(t *testing.T) {
	t.Parallel()
	s, root := newFixture(t, Config{})
	s.AddPolicy("narrow", PathRule{Path: "kv/data/deploy/*", Capabilities: []string{"read"}},
		PathRule{Path: "kv/data/+/web", Capabilities: []string{"read"}}, PathRule{Path: "sys/*", Capabilities: []string{"read"}})
	c := root.as(s.CreateToken([]string{"narrow"}, ""))
	check(t, s.PutSecret("kv/deploy/web", map[string]any{"k": "v"}))
	for path, status := range map[string]int{
		"kv/data/deploy/web":                 200,
		"kv/data%2fdeploy%2fweb":             200,
		"kv/data/other/..%2fdeploy/web":      403, // kv/data/other/../deploy/web
		"kv/data/deploy/%2e%2e/web":          404, // a key of its own, under the first rule
		"kv/data/deploy%2f%2e%2e%2fdeploy/x": 404,
		"kv/data/%2fweb":                     404, // "+" stands for an empty segment, too
		"kv/data/%2fx":                       403,
		"sys/..%2f..%2fkv/data/deploy/web":   404, // a path of sys/, which has none such
		"%2fkv/data/deploy/web":              404, // policies lose the slash, the router does not
	} {
		t.Log(path)
		c.do("GET", "/v1/"+path, nil).wantStatus(t, status)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	_, c := newFixture(t, Config{})
	anyone := c.as("")
	anyone.do("GET", "/v1/sys/health", nil).wantAt(t, true, "enterprise")
	anyone.do("GET", "/v1/sys/health", nil).wantAt(t, false, "sealed")
	anyone.do("HEAD", "/v1/sys/health", nil).wantStatus(t, 200)
	c.do("DELETE", "/v1/sys/health", nil).want(t, 405, "{\"errors\":[]}\n")
	anyone.do("GET", "/v1/sys/leader", nil).wantAt(t, false, "ha_enabled")
	anyone.do("GET", "/v1/sys/seal-status", nil).wantAt(t, "inmem", "storage_type")
}

// get is a request over the network.
func get(t *testing.T, url, token string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return http.DefaultClient.Do(r)
}

func TestStartAndClose(t *testing.T) {
	t.Parallel()
	s, _ := newFixture(t, Config{})
	url, err := s.Start()
	check(t, err)
	if _, err := s.Start(); err == nil {
		t.Error("a second Start succeeded")
	}
	push := s.AddPushMethod("phone", "okta")
	s.AddPolicy("guarded", PathRule{Path: "secret/data/x", Capabilities: []string{"read"}, MFAMethods: []string{"phone"}})
	token := s.CreateToken([]string{"guarded"}, "alice")
	ended := make(chan error, 1)
	go func() {
		resp, err := get(t, url+"/v1/secret/data/x", token)
		if err == nil {
			err = resp.Body.Close()
		}
		ended <- err
	}()
	check(t, push.Wait(t.Context()))
	s.Close()
	s.Close()
	<-ended // the request did not outlive its server
	if n := push.Pending(); n != 0 {
		t.Errorf("%d pushes wait after Close", n)
	}
	if _, err := s.Start(); err == nil {
		t.Error("Start succeeded after Close")
	}
	client{t: t, h: s}.do("GET", "/v1/sys/health", nil).refused(t, 503, "Vault is sealed")
}

func TestRecord(t *testing.T) {
	t.Parallel()
	s, c := newFixture(t, Config{Record: true})
	c.do("PUT", "/v1/secret/data/r?b=2&a=1", `{"data":{}}`, "X-Vault-Mfa", "a:1", "X-Vault-Mfa", "b")
	c.do("GET", "/v1/nomount", nil)
	got := s.Requests()
	if len(got) != 2 || got[1].Status != 404 {
		t.Fatalf("recorded %+v", got)
	}
	if r := got[0]; r.Method != "PUT" || r.RawPath != "/v1/secret/data/r?b=2&a=1" || r.Status != 200 ||
		string(r.Body) != `{"data":{}}` || len(r.Header["X-Vault-Mfa"]) != 2 {
		t.Errorf("recorded %+v", r)
	}
	for range maxRecords + 5 {
		c.do("GET", "/v1/sys/health", nil)
	}
	kept := len(s.Requests())
	s.ForgetRequests()
	quiet, c := newFixture(t, Config{})
	c.do("GET", "/v1/sys/health", nil)
	if forgotten, unasked := len(s.Requests()), len(quiet.Requests()); kept != maxRecords || forgotten != 0 || unasked != 0 {
		t.Errorf("%d requests are kept, want %d; %d after forgetting, %d without being asked to", kept, maxRecords, forgotten, unasked)
	}
}

func TestMonitorStreams(t *testing.T) {
	t.Parallel()
	s, _ := newFixture(t, Config{Record: true}) // through the recorder too
	url, err := s.Start()
	check(t, err)
	resp, err := get(t, url+"/v1/sys/monitor?log_level=debug", "root") // returns with the headers, before any line
	check(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != 200 || s.Monitors() != 1 {
		t.Fatalf("status %d, %d monitors", resp.StatusCode, s.Monitors())
	}
	s.EmitLog("[INFO] hello")
	buf := make([]byte, 200)
	n, err := resp.Body.Read(buf)
	if err != nil || !strings.HasSuffix(string(buf[:n]), " [INFO] hello\n") {
		t.Errorf("read %q, %v", buf[:n], err)
	}
}

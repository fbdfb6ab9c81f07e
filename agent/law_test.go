package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/prompt"
)

// lawSpaces are the namespaces of the law, with ns9 left out: that one is not there.
var lawSpaces = []string{"", "ns1", "ns1/ns2", "ns2"}

// A lawFixture is an agent with one rule in front of a Vault with namespaces, in each of which there is the
// same to find.
type lawFixture struct {
	*fixture
	flavor    devvault.Flavor
	namespace string // of the rule, as it is written
	grant     rule.GrantKind
	callers   map[string]string // tokens by name: the namespace that they are of, or "dead"
	failures  int
}

// TestLawOfNamespaces draws requests whose namespace is in the header, in the path, half in each, or in
// neither, and holds them against one reading of the two: a step-up token serves only where the rule's
// namespace and path are what Vault made of the request; it is got in that namespace; and a password
// goes to the namespace that it was typed for.
func TestLawOfNamespaces(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64N(1 << 32)
	if text := os.Getenv("STEPUP_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("STEPUP_TEST_SEED=%d", seed)
	for _, flavor := range []devvault.Flavor{devvault.Enterprise, devvault.OpenBao, devvault.Community} {
		for _, namespace := range []string{"", "root", "ns1", "ns1/ns2"} {
			for _, grant := range []rule.GrantKind{rule.TokenGrant, rule.LoginGrant} {
				if flavor == devvault.Community && namespace != "" && namespace != "root" {
					continue // it has none
				}
				t.Run(fmt.Sprintf("%s/%s/%s", flavor, namespace, grant), func(t *testing.T) {
					t.Parallel()
					l := newLawFixture(t, flavor, namespace, grant)
					for i := range uint64(200) {
						l.try(t, rand.New(rand.NewPCG(seed, i)))
					}
				})
			}
		}
	}
}

func newLawFixture(t *testing.T, flavor devvault.Flavor, namespace string, grant rule.GrantKind) *lawFixture {
	t.Helper()
	r := newStoppedFixture(t, devvault.Config{Record: true, Flavor: flavor, CleanStatus: http.StatusTemporaryRedirect})
	l := &lawFixture{fixture: r, flavor: flavor, namespace: namespace, grant: grant, callers: map[string]string{}}
	l.furnish(t)
	tell := sees(nil)
	r.person = func(ctx context.Context, q prompt.Request) (string, error) {
		if q.Kind == prompt.Password {
			return l.password(canonical(q.Namespace)), nil
		}
		return tell(ctx, q)
	}
	rules := rule.Rule{
		Name: "law", Namespace: namespace, Paths: patterns("kv/data/deploy/*", "kv/metadata/deploy/*"), Capabilities: []rule.Operation{rule.Create, rule.Read, rule.Update, rule.List},
		Grant: rule.Grant{Kind: rule.LoginGrant, Path: "auth/stepup/login/robot", Password: "prompt"},
	}
	if grant == rule.TokenGrant {
		rules.Methods = []string{"phone"}
		rules.Grant = rule.Grant{Kind: rule.TokenGrant, Path: "auth/token/create/stepup", Policies: []string{"everything"}}
	}
	r.config.Rules = rule.Rules{rules}
	r.start(t)
	return l
}

// furnish has the same in each namespace: secrets below the rule and beside it, a way to mint and a way
// to log in, both with a push that is approved at once. Only the password differs.
func (l *lawFixture) furnish(t *testing.T) {
	t.Helper()
	v := l.vault
	v.AddPushMethod("phone", "okta").Always(true)
	everything := devvault.PathRule{Path: "*", Capabilities: []string{"create", "read", "update", "patch", "delete", "list", "scan"}}
	for _, name := range lawSpaces {
		if l.flavor == devvault.Community && name != "" {
			continue
		}
		n := v.AddNamespace(name)
		n.AddKV("team")
		for _, secret := range []string{"kv/deploy/web", "kv/other/web", "team/kv/data/deploy/web"} {
			must(t, n.PutSecret(secret, map[string]any{"in": "/" + name}))
		}
		n.AddPolicy("everything", everything)
		var mints []devvault.PathRule
		for _, below := range []string{"", "+/", "+/+/"} {
			mints = append(mints, devvault.PathRule{
				Path: below + "auth/token/create/stepup", Capabilities: []string{"update"}, MFAMethods: []string{"phone"},
			})
		}
		n.AddPolicy("minter", mints...)
		n.AddTokenRole("stepup", devvault.TokenRole{AllowedPolicies: []string{"everything"}})
		n.AddUser("stepup", "robot", l.password(name), "everything")
		n.AddPushMethod("ring", "okta").Always(true)
		must(t, n.AddLoginEnforcement("ups", []string{"ring"}, []string{"stepup"}))
		l.callers[name] = n.CreateToken([]string{"default", "minter"}, n.AddEntity("app"))
	}
	l.callers["dead"] = "hvs.GONE"
}

// A drawn is one request of the law.
type drawn struct{ method, target, namespace, caller string }

// draw makes a request; half of them are of the simple kind that must work.
func (l *lawFixture) draw(r *rand.Rand) drawn {
	one := func(from ...string) string { return from[r.IntN(len(from))] }
	d := drawn{method: one("GET", "GET", "GET", "LIST", "POST", "SCAN"), namespace: one("", "", "ns1", "ns1/ns2", "ns2")}
	d.caller = one("", "", "ns1", "ns1/ns2", "ns2", "dead")
	if l.callers[d.caller] == "" {
		d.caller = ""
	}
	prefix, at := one("", "", "ns1/", "ns2/", "ns1/ns2/"), "kv/data/deploy/web"
	if r.IntN(2) == 0 {
		d.namespace = one("", "ns1", "/ns1/", "ns1/ns2/", "ns1//ns2", "ns1/../ns2", "ns1/.", "root", "ns9", "NS1", "ns2/ns1", "..")
		prefix = one("", "ns1/", "ns2/", "ns1/ns2/", "ns9/", "root/", "team/", "ns1%2f", "ns1//", "%6es1/", "ns1/..%2f", "ns2/../ns1/", "/", "%2fns1/", "x/ns1/")
		at = one("kv/data/deploy/web", "kv/metadata/deploy", "kv/metadata/deploy?list=true", "kv/metadata/deploy?scan=true", "kv/data/other/web",
			"kv%2fdata/deploy/web", "kv/data/other/..%2fdeploy/web", "kv/data/deploy/%2e%2e/other/web", "kv/data/deploy/../other/web",
			"sys/internal/ui/mounts/kv/deploy/web", "sys/internal/ui/mounts/ns1/kv/deploy/web", "sys/internal/ui/mounts/kv", "team/kv/data/deploy/web",
			"sys/internal/ui/mounts/kv/other/web", "auth/token/lookup-self", "sys/capabilities-self")
	}
	d.target = "/v1/" + prefix + at
	return d
}

// try sends one request directly and through the agent, and holds what reached Vault against the law.
func (l *lawFixture) try(t *testing.T, r *rand.Rand) {
	t.Helper()
	d := l.draw(r)
	own := l.send(t, l.direct().url, d)
	l.vault.ForgetRequests()
	got := l.send(t, l.url, d)
	failed := func(format string, args ...any) {
		t.Helper()
		if l.failures++; l.failures > 5 {
			t.Fail() // one fault shows again and again
			return
		}
		t.Errorf("%s: %+v: %s\nown    %d %s\nagent: %d %s %s", l.name(), d, fmt.Sprintf(format, args...), own.status, own.body, got.status, got.outcome, got.body)
	}
	elevated, covered := false, ""
	for _, q := range l.vault.Requests() {
		namespace, at, op := l.routed(q)
		token := q.Header.Get("X-Vault-Token")
		if q.Header.Get("X-Probe") != "" {
			if l.covers(d, namespace, at, op) {
				covered = "/" + namespace
			}
			if q.Status == http.StatusTemporaryRedirect || token == l.callers[d.caller] {
				continue
			}
			elevated = true
			if covered == "" || d.caller == "dead" {
				failed("elevated in %q at %s %s", namespace, op, at)
			}
			continue
		}
		if why := l.strayed(q, namespace, at, d); why != "" {
			failed("%s in %q", why, namespace)
		}
	}
	switch {
	case !elevated && same(own, got) != "":
		failed("another answer than the own token's, without a step-up: %s", same(own, got))
	case !elevated && covered != "" && l.works(d) && got.outcome != "cooldown": // others were denied their mint
		failed("no step-up for what the rule covers in %q", covered)
	}
}

func (l *lawFixture) name() string {
	return fmt.Sprintf("%s, rule in %q, grant %s", l.flavor, l.namespace, l.grant)
}

// works reports whether a covered request must be stepped up: by a live caller, in its own namespace or
// one below, where it may mint.
func (l *lawFixture) works(d drawn) bool {
	if d.caller == "dead" || d.method != "GET" || !strings.HasSuffix(d.target, "/kv/data/deploy/web") {
		return false
	}
	if unclean := path.Clean("/"+d.namespace) != "/"+strings.Trim(d.namespace, "/"); unclean {
		return false // to the agent it is a namespace of that name, which no rule can have
	}
	namespace, _ := l.wanted(d)
	if l.flavor == devvault.Community && l.namespace != "" && canonical(d.namespace) != "" {
		return false // the agent cannot know that the header means nothing
	}
	return l.grant == rule.LoginGrant || strings.HasPrefix(namespace+"/", strings.TrimPrefix(d.caller+"/", "/"))
}

// strayed is what a call of the agent's own did in the wrong place, "" for nothing.
func (l *lawFixture) strayed(q devvault.Recorded, namespace, at string, d drawn) string {
	isLogin := strings.HasPrefix(at, "auth/stepup/login/")
	if !isLogin && !strings.HasPrefix(at, "auth/token/create") {
		return ""
	}
	wanted, sent := l.wanted(d)
	place := wanted
	if asked, ok := strings.CutPrefix(sent, "sys/internal/ui/mounts/"); ok {
		place, _ = l.effective(wanted, strings.TrimLeft(asked, "/")) // a look for that path is treated as that path
	}
	switch {
	case !l.covers(d, wanted, sent, "read") && !l.covers(d, wanted, sent+"/", "list"):
		return "a step-up for what no rule covers"
	case namespace != place:
		return fmt.Sprintf("%s for a request in %q", at, place)
	case d.caller == "dead":
		return "a step-up for a dead caller"
	}
	var body struct{ Password string }
	if isLogin && (json.Unmarshal(q.Body, &body) != nil || body.Password != l.password(namespace)) {
		return "the password " + body.Password
	}
	return ""
}

// password is the robot's in a namespace.
func (l *lawFixture) password(namespace string) string {
	if l.flavor == devvault.Community {
		namespace = ""
	}
	return "pw-of-" + namespace
}

// wanted is where a request leads when Vault's redirect to the clean path has been followed.
func (l *lawFixture) wanted(d drawn) (namespace, at string) {
	sent, _, _ := strings.Cut(d.target, "?")
	return l.effective(d.namespace, strings.TrimPrefix(mustUnescape(path.Clean(sent)), "/v1/"))
}

// covers is the law: the rule's namespace is what Vault made of header and path together. A rule that
// names none is about the header's, because only a name makes a namespace of what stands in a path.
func (l *lawFixture) covers(d drawn, namespace, at, op string) bool {
	if asked, ok := strings.CutPrefix(at, "sys/internal/ui/mounts/"); ok && op == "read" {
		inner, rest := l.effective(namespace, strings.TrimLeft(asked, "/"))
		rest = strings.TrimRight(rest, "/")
		if !l.inRule(d, inner) || (inner != namespace && l.namespace == "") {
			return false
		}
		return rest == "kv" || rest == "kv/deploy" || strings.HasPrefix(rest, "kv/deploy/") || strings.HasPrefix(rest, "kv/data/deploy/")
	}
	if op == "scan" || !l.inRule(d, namespace) {
		return false
	}
	return strings.HasPrefix(at, "kv/data/deploy/") || strings.HasPrefix(at, "kv/metadata/deploy/")
}

func (l *lawFixture) inRule(d drawn, namespace string) bool {
	if l.namespace == "" {
		return l.flavor == devvault.Community || namespace == canonical(d.namespace)
	}
	return namespace == canonical(l.namespace)
}

// routed is what Vault made of a request: its namespace, the path in it, and the operation.
func (l *lawFixture) routed(q devvault.Recorded) (namespace, at, op string) {
	sent, query, _ := strings.Cut(q.RawPath, "?")
	at = strings.TrimPrefix(mustUnescape(sent), "/v1/")
	op = map[string]string{"GET": "read", "LIST": "list", "SCAN": "scan", "POST": "update", "PUT": "update"}[q.Method]
	if q.Method == "GET" && query != "" {
		op, _, _ = strings.Cut(query, "=")
	}
	if op == "scan" && l.flavor != devvault.OpenBao {
		op = "read"
	}
	if (op == "list" || op == "scan") && !strings.HasSuffix(at, "/") {
		at += "/"
	}
	namespace, at = l.effective(q.Header.Get("X-Vault-Namespace"), at)
	return namespace, at, op
}

// effective is the longest namespace that header and path together begin with.
func (l *lawFixture) effective(header, at string) (namespace, rest string) {
	if l.flavor == devvault.Community {
		return "", at
	}
	whole := at
	if c := canonical(header); c != "" {
		whole = c + "/" + at
	}
	for _, name := range lawSpaces {
		if len(name) >= len(namespace) && strings.HasPrefix(whole, name+"/") {
			namespace = name
		}
	}
	if namespace == "" {
		return "", whole
	}
	return namespace, strings.TrimPrefix(whole, namespace+"/")
}

// canonical is a namespace without slashes at its ends, doubled ones and dots, as OpenBao reads the header.
func canonical(namespace string) string {
	clean := strings.Trim(path.Clean("/"+namespace), "/")
	if clean == "root" {
		return ""
	}
	return clean
}

func mustUnescape(s string) string {
	out, err := url.PathUnescape(s)
	if err != nil {
		panic(err) // it is the test's own
	}
	return out
}

// send does not let the client clean the path; redirects of Vault are followed, as the agent does.
func (l *lawFixture) send(t *testing.T, base string, d drawn) reply {
	t.Helper()
	body := ""
	if d.method == "POST" {
		body = `{"data":{"in":"changed"},"paths":["kv/data/deploy/web"]}`
	}
	req, err := http.NewRequestWithContext(t.Context(), d.method, base+d.target, strings.NewReader(body))
	must(t, err)
	req.Header.Set("X-Probe", "1")
	req.Header.Set("X-Vault-Token", l.callers[d.caller])
	if d.namespace != "" {
		req.Header.Set("X-Vault-Namespace", d.namespace)
	}
	resp, err := client.Do(req)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	return reply{resp.StatusCode, string(text), resp.Header.Get("Stepup-Outcome")}
}

// same says how two answers differ, apart from what does from one time to the next and from the agent's
// own words; "" when they do not.
func same(a, b reply) string {
	texts := func(r reply) (out []string) {
		var body struct{ Errors []string }
		_ = json.Unmarshal([]byte(r.body), &body)
		return slices.DeleteFunc(body.Errors, func(s string) bool { return strings.HasPrefix(s, "stepup: ") })
	}
	switch {
	case a.status != b.status:
		return "the status"
	case !slices.Equal(texts(a), texts(b)):
		return "the errors"
	}
	return ""
}

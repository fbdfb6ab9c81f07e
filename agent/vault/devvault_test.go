package vault

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A devFixture is a client of a development Vault.
type devFixture struct {
	*Client
	*devvault.Server
	t   *testing.T
	url string
}

func newDevFixture(t *testing.T) devFixture {
	t.Helper()
	v := devvault.New(devvault.Config{})
	t.Cleanup(v.Close)
	address := serve(t, v.ServeHTTP)
	return devFixture{newClient(t, address, Config{}), v, t, address}
}

// withLogin adds a login in ns1 that wants a TOTP method.
func (f devFixture) withLogin() (ns *devvault.Namespace, method string) {
	f.t.Helper()
	ns = f.AddNamespace("ns1")
	ns.AddUser("userpass", "alice", "pw", "default")
	method = ns.AddTOTPMethod("corp")
	_, _, err := ns.EnrolTOTP("corp", "alice")
	must(f.t, err)
	must(f.t, ns.AddLoginEnforcement("all", []string{"corp"}, []string{"userpass"}))
	return ns, method
}

// app is the request of an app: its body is read as an answer of [Client.Mint] is.
func (f devFixture) app(method, path, body string, header ...string) []byte {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.url+"/v1/"+path, strings.NewReader(body))
	must(f.t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	_, answer := f.answer(newTransport(f.t, TLS{}).RoundTrip(req))
	return answer
}

// answer reads the answer of a call.
func (f devFixture) answer(resp *http.Response, err error) (int, []byte) {
	f.t.Helper()
	must(f.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(f.t, err)
	return resp.StatusCode, body
}

// held logs in at ns1 and reads the challenge.
func (f devFixture) held(user string) mfa.Challenge {
	f.t.Helper()
	resp, err := f.Login(f.t.Context(), LoginRequest{Path: "auth/userpass/login/" + user, Namespace: "ns1", Password: "pw"})
	status, body := f.answer(resp, err)
	if status != http.StatusOK {
		f.t.Fatalf("right password: %d %s", status, body)
	}
	if _, err := ParseAuth(body); err == nil {
		f.t.Error("a held login passes for a token")
	}
	challenge := f.challenge(body)
	challenge.Node = Node(resp)
	return challenge
}

func (f devFixture) challenge(body []byte) mfa.Challenge {
	f.t.Helper()
	c, ok, err := mfa.Parse(body)
	if err != nil || !ok {
		f.t.Fatalf("no challenge (%v) in %s", err, body)
	}
	c.Namespace = "ns1"
	return c
}

// The calls in their order of life: a login in a namespace, wrapped, is held;
// its requirement is unwrapped, a wrong and a right code are sent, and the token
// is asked about and ended.
func TestLifeOfALogin(t *testing.T) {
	t.Parallel()
	f, ctx := newDevFixture(t), t.Context()
	ns, method := f.withLogin()
	h, err := f.Health(ctx)
	if err != nil || h.Sealed || h.Version == "" || h.Skew.Abs() > time.Minute {
		t.Errorf("Health = %+v, %v", h, err)
	}
	answer := f.app("POST", "auth/userpass/login/alice", `{"password":"pw"}`, "X-Vault-Namespace", "ns1", "X-Vault-Wrap-TTL", "60s")
	login, err := api.ParseSecret(strings.NewReader(string(answer)))
	if err != nil || login == nil || login.WrapInfo == nil {
		t.Fatalf("the login was not wrapped: %s, %v", answer, err)
	}
	body, err := f.Unwrap(ctx, secret.Secret(login.WrapInfo.Token), "ns1")
	must(t, err)
	challenge := f.challenge(body)
	status, body := f.answer(f.Validate(ctx, challenge, map[string][]string{method: {"000000000"}}))
	if status != http.StatusForbidden || !strings.Contains(string(body), "failed to satisfy enforcement") {
		t.Errorf("wrong code: %d %s", status, body)
	}
	status, body = f.answer(f.Validate(ctx, challenge, map[string][]string{method: {ns.UnusedCode("corp", "alice")}}))
	auth, err := ParseAuth(body)
	if status != http.StatusOK || err != nil {
		t.Fatalf("right code: %d %s, %v", status, body, err)
	}
	words, err := f.Capabilities(ctx, auth.Token, "ns1", "auth/token/lookup-self")
	if err != nil || !slices.Contains(words, "read") {
		t.Errorf("Capabilities = %q, %v", words, err)
	}
	info, err := f.LookupSelf(ctx, auth.Token, "ns1")
	if err != nil || info.Accessor != auth.Accessor || info.TTL <= 0 || !slices.Contains(info.Policies, "default") {
		t.Errorf("LookupSelf = %+v, %v", info, err)
	}
	if err := f.RevokeSelf(ctx, auth.Token, "ns1"); err != nil {
		t.Errorf("RevokeSelf: %v", err)
	}
	_, err = f.LookupSelf(ctx, auth.Token, "ns1")
	if se, ok := errors.AsType[*StatusError](err); !ok || se.Status != http.StatusForbidden {
		t.Errorf("LookupSelf of a revoked token: %v, want a 403", err)
	}
}

// A login is held, answered on the node that holds it, and gives a token; a wrong
// password is another answer than a wrong code.
func TestLoginThatIsHeld(t *testing.T) {
	t.Parallel()
	f := newDevFixture(t)
	ns, method := f.withLogin()
	ask := LoginRequest{Path: "auth/userpass/login/alice", Namespace: "ns1", Password: "wrong"}
	if status, body := f.answer(f.Login(t.Context(), ask)); status != http.StatusBadRequest {
		t.Errorf("wrong password: %d %s", status, body)
	}
	challenge := f.held("alice")
	if challenge.Node != f.url {
		t.Errorf("node is %q, want %q", challenge.Node, f.url)
	}
	_, body := f.answer(f.Validate(t.Context(), challenge, map[string][]string{method: {ns.UnusedCode("corp", "alice")}}))
	got, err := ParseAuth(body)
	if err != nil || got.TTL <= 0 || got.EntityID == "" {
		t.Errorf("ParseAuth = %+v, %v", got, err)
	}
}

// A secret is made for a held login in a namespace, a code of it finishes the
// login, and there is no second one.
func TestSelfEnrol(t *testing.T) {
	t.Parallel()
	f, ctx := newDevFixture(t), t.Context()
	ns, method := f.withLogin()
	ns.AddUser("userpass", "bob", "pw")
	must(t, ns.AllowSelfEnrolment("corp"))
	first := f.held("bob")
	if m := first.Constraints[0].Any[0]; !m.SelfEnrollment {
		t.Fatalf("nothing is offered: %+v", m)
	}
	e, err := f.SelfEnrol(ctx, first, method)
	must(t, err)
	if len(e.Secret) != 32 || e.Issuer != "Vault" || len(e.Account) != 36 || e.Algorithm != "SHA1" || e.Digits != 6 || e.Period != 30 {
		t.Errorf("%+v, %d characters", e, len(e.Secret))
	}
	if status, body := f.answer(f.Validate(ctx, first, map[string][]string{method: {ns.UnusedCode("corp", "bob")}})); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	if _, err := f.SelfEnrol(ctx, f.held("bob"), method); !errors.Is(err, ErrEnrolled) {
		t.Errorf("a second secret: %v", err)
	}
	_, err = f.SelfEnrol(ctx, first, method)
	if refusal, ok := errors.AsType[*StatusError](err); !ok || refusal.Status != http.StatusBadRequest {
		t.Errorf("for a login that is over: %v", err)
	}
}

// The life of a request that another person must approve.
func TestLifeOfAControlGroup(t *testing.T) {
	t.Parallel()
	f, ctx := newDevFixture(t), t.Context()
	f.AddEntity("abby")
	f.AddPolicy("pay", devvault.PathRule{Path: "kv/data/pay", Capabilities: []string{"read"}, ControlGroup: &devvault.ControlGroup{
		Factors: []devvault.GroupFactor{{Members: []string{"abby"}}},
	}})
	must(t, f.PutSecret("kv/pay", map[string]any{"salary": "1"}))
	own := secret.Secret(f.CreateToken([]string{"default", "pay"}, "alice"))
	body := f.app("GET", "kv/data/pay", "", "X-Vault-Token", own.Reveal())
	g, ok := mfa.ParseControlGroup(body)
	if !ok || !g.Answers("", "kv/data/pay") {
		t.Fatalf("no control group: %s", body)
	}
	for range 3 { // asking uses nothing up
		if s, err := f.ControlGroup(ctx, own, "", g.Accessor); err != nil || s.Approved || s.Requester != "alice" || len(s.By) > 0 {
			t.Fatalf("before: %+v %v", s, err)
		}
	}
	held := Held{Caller: own, Wrapping: secret.Secret(g.Token)}
	if status, body := f.answer(f.Release(ctx, held)); status != 400 || !mfa.FurtherApproval(body) {
		t.Errorf("too early: %d %s", status, body)
	}
	must(t, f.Authorize(g.Accessor, "abby"))
	if s, err := f.ControlGroup(ctx, own, "", g.Accessor); err != nil || !s.Approved || !slices.Equal(s.By, []string{"abby"}) {
		t.Errorf("after: %+v %v", s, err)
	}
	if status, body := f.answer(f.Release(ctx, held)); status != 200 || !strings.Contains(string(body), `"salary":"1"`) {
		t.Errorf("released: %d %s", status, body)
	}
	if status, body := f.answer(f.Release(ctx, held)); status != 400 || !mfa.WrappingGone(body) {
		t.Errorf("again: %d %s", status, body)
	}
	_, err := f.ControlGroup(ctx, own, "", g.Accessor)
	if refusal, ok := errors.AsType[*StatusError](err); !ok || refusal.Status != 400 {
		t.Errorf("afterwards: %v", err)
	}
}

// A mint behind MFA is refused without a code and gives a token with one; what
// the token may is what was asked for.
func TestMintBehindMFA(t *testing.T) {
	t.Parallel()
	f := newDevFixture(t)
	f.AddTOTPMethod("corp")
	f.AddEntity("alice")
	_, _, err := f.EnrolTOTP("corp", "alice")
	must(t, err)
	f.AddTokenRole("prod-stepup", devvault.TokenRole{AllowedPolicies: []string{"prod-stepup"}})
	f.AddPolicy("prod-stepup", devvault.PathRule{Path: "kv/data/prod/*", Capabilities: []string{"read"}})
	f.AddPolicy("app", devvault.PathRule{
		Path: "auth/token/create/prod-stepup", Capabilities: []string{"update"}, MFAMethods: []string{"corp"},
	})
	ask := MintRequest{
		Path:     "auth/token/create/prod-stepup",
		Token:    secret.Secret(f.CreateToken([]string{"default", "app"}, "alice")),
		Policies: []string{"prod-stepup"}, TTL: 5 * time.Minute, NumUses: 2,
	}
	if status, body := f.answer(f.Mint(t.Context(), ask)); status != http.StatusForbidden {
		t.Errorf("without a code: %d %s", status, body)
	}
	ask.Credentials = []mfa.Credential{{Method: "corp", Passcode: f.UnusedCode("corp", "alice")}}
	status, body := f.answer(f.Mint(t.Context(), ask))
	got, err := ParseAuth(body)
	if status != http.StatusOK || err != nil || got.TTL != 5*time.Minute || got.Uses != 2 || got.Accessor == "" {
		t.Fatalf("with a code: %d, ParseAuth = %+v, %v", status, got, err)
	}
	words, err := f.Capabilities(t.Context(), got.Token, "", "kv/data/prod/db")
	if err != nil || !slices.Equal(words, []string{"read"}) {
		t.Errorf("the token may %q, error %v", words, err)
	}
}

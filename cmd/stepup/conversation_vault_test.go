//go:build unix

package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/config"
)

// setups are what the hcl block of a conversation does not say about its Vault, by
// name of the conversation. They run after addRules.
func setups() map[string]func(*fixture) error {
	return map[string]func(*fixture) error{
		"duo_passcode": func(f *fixture) error {
			f.pushes["corp_duo"].AcceptPasscodes("1234567")
			return nil
		},
		"okta_number": func(f *fixture) error {
			f.addOkta().Challenge(42)
			f.okta.Hold(true)
			return nil
		},
		"okta_code": func(f *fixture) error {
			f.addOkta().Enrol(false, "135790")
			return nil
		},
		"legacy_push":    addLegacy,
		"legacy_code":    addLegacy,
		"legacy_refused": addLegacy,
		"outage": func(f *fixture) error {
			f.pushes["corp_duo"].Outage(`failed to perform Duo preauth: Post "https://api-1.duosecurity.com/auth/v2/preauth": dial tcp: i/o timeout`, http.StatusInternalServerError)
			return nil
		},
		"enrolment": func(f *fixture) error {
			f.vault.AddUser("userpass", "bob", "alice's password", "app")
			return errors.Join(f.vault.AllowSelfEnrolment("corp_totp"), f.vault.AddLoginEnforcement("people", []string{"corp_totp"}, []string{"userpass"}))
		},
		"push_or_code":         enforce("corp_totp", "corp_okta"),
		"push_or_code_refused": enforce("corp_totp", "corp_okta"),
		"single_phase":         enforce("corp_totp"),
		"duo_login": func(f *fixture) error {
			f.pushes["corp_duo"].UsePasscode()
			f.pushes["corp_duo"].AcceptPasscodes("1234567")
			return enforce("corp_duo")(f)
		},
		"unknown_403": forgetRule,
		"login_totp":  enforce("corp_totp"),
		"login_grant": func(f *fixture) error {
			f.vault.AddUser("stepup", "alice", "alice's password", "secure")
			return f.vault.AddLoginEnforcement("people", []string{"corp_totp"}, []string{"stepup"})
		},
	}
}

// addOkta is an Okta mount with alice in it; her phone is that of the method okta.
func (f *fixture) addOkta() *devvault.Okta {
	f.okta = f.vault.AddOkta("okta")
	f.vault.AddUser("okta", "alice", "alice's password", "app")
	f.pushes["okta"] = f.okta.Push
	return f.okta
}

// addLegacy is an LDAP mount with Duo as before Vault 1.11.
func addLegacy(f *fixture) error {
	duo := f.vault.AddLegacyDuo("ldap")
	f.vault.AddUser("ldap", "alice", "alice's password", "app")
	duo.Codes("1234567")
	f.pushes["duo"] = duo.Push
	return nil
}

// enforce has every login at userpass want one of methods.
func enforce(methods ...string) func(*fixture) error {
	return func(f *fixture) error { return f.vault.AddLoginEnforcement("people", methods, []string{"userpass"}) }
}

// around is what the hcl block of a conversation leaves out.
const around = `vault "corp" { address = "${env.DEV_VAULT}" }
listener "tcp" { address = "127.0.0.1:0" }
cache {
  store   = "memory"
  lock_on = []
}
log { level = "warn" }
`

func newConversation(env *testscript.Env) error {
	name := strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")
	page, err := os.ReadFile(pageFile(name))
	if err != nil {
		return err
	}
	block, ok := blockOf(string(page), "hcl")
	if !ok {
		return fmt.Errorf("%s has no hcl block", pageFile(name))
	}
	const prompt = "prompt {\n"
	if !strings.Contains(block, prompt) {
		block += prompt + "}\n"
	}
	// A busy machine gets all the time it needs: no step ends by itself.
	hcl := around + strings.Replace(block, prompt, prompt+"  use = [\"attached\"]\n  timeout = \"5m\"\n  cooldown = \"5m\"\n", 1)
	f := &fixture{vault: devvault.New(devvault.Config{PushTimeout: 10 * time.Minute}), screens: make(map[string]*screen), pushes: make(map[string]*devvault.Push)}
	env.Defer(f.vault.Close)
	url, err := f.vault.Start()
	if err != nil {
		return err
	}
	c, diagnostics := config.Parse(name+".md", []byte(hcl), config.Options{Env: func(string) string { return url }})
	if err := diagnostics.Err(); err != nil {
		return err
	}
	if err := f.addRules(c); err != nil {
		return err
	}
	if more := setups()[name]; more != nil {
		if err := more(f); err != nil {
			return err
		}
	}
	if err := f.setEnv(env, url); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(env.WorkDir, "agent.hcl"), []byte(hcl), 0o600)
}

// addRules makes the methods of a configuration, has policies want them on the
// paths of its rules, and puts a secret there: kv/X/db for kv/data/X/*.
func (f *fixture) addRules(c *agent.Config) error {
	v := f.vault
	v.AddUser("userpass", "alice", "alice's password", "app")
	for _, m := range c.Methods {
		if m.Type != "totp" {
			f.pushes[m.Name] = v.AddPushMethod(m.Name, m.Type)
			continue
		}
		v.AddTOTPMethod(m.Name)
		if _, _, err := v.EnrolTOTP(m.Name, "alice"); err != nil {
			return err
		}
	}
	policies := map[string][]devvault.PathRule{}
	for _, r := range c.Rules {
		policy, methods := "app", r.Methods
		if r.Grant.Mints() {
			policy, methods = r.Name, nil // the short token's
		}
		for _, p := range r.Paths {
			policies[policy] = append(policies[policy], devvault.PathRule{Path: p.String(), Capabilities: []string{"create", "read", "update"}, MFAMethods: methods, ControlGroup: f.controlGroup(r)})
			mount, rest, _ := strings.Cut(strings.TrimSuffix(p.String(), "*"), "/data/")
			if err := v.PutSecret(mount+"/"+rest+"db", map[string]any{"password": "tulip-anchor-forty"}); err != nil {
				return err
			}
		}
		for _, p := range r.Sentinel {
			v.AddSentinel(devvault.Sentinel{Name: strings.TrimPrefix(p.Name, "root/"), Paths: texts(r.Paths), Methods: p.Methods})
		}
		if r.Grant.Kind == rule.TokenGrant {
			policies["app"] = append(policies["app"], devvault.PathRule{Path: r.Grant.Path, Capabilities: []string{"update"}, MFAMethods: r.Methods})
			v.AddTokenRole(r.Grant.Path[strings.LastIndexByte(r.Grant.Path, '/')+1:], devvault.TokenRole{AllowedPolicies: []string{r.Name}})
		}
	}
	for name, rules := range policies {
		v.AddPolicy(name, rules...)
	}
	return nil
}

func texts(paths []rule.Pattern) (all []string) {
	for _, p := range paths {
		all = append(all, p.String())
	}
	return all
}

// pushes METHOD N: so many pushes were sent to alice's phone by now.
func pushes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: pushes METHOD N")
	}
	push := fixtureOf(ts).pushes[args[0]]
	if push == nil {
		ts.Fatalf("%s pushes to no phone", args[0])
	}
	if got := push.Sent(); strconv.Itoa(got) != args[1] {
		ts.Fatalf("%d pushes were sent, want %s", got, args[1])
	}
}

// vaultProgram stands for the vault command: it says what that says, as far as a
// conversation shows it. Its exit code is the second result.
func vaultProgram(args []string) (text string, code int) {
	base, err := appAddress()
	if err != nil {
		return err.Error() + "\n", 1
	}
	r, doing, err := vaultRequest(base, args)
	if err != nil {
		return err.Error() + "\n", 1
	}
	if doing != "logging in" {
		r.Header.Set("X-Vault-Token", os.Getenv("APP_TOKEN"))
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Sprintf("Error %s: %v\n", doing, err), 2
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error() + "\n", 2
	}
	return vaultSays(resp, doing, body)
}

func vaultRequest(base string, args []string) (r *http.Request, doing string, err error) {
	words := strings.Join(args, " ")
	fields := map[string]any{}
	for _, arg := range args {
		if k, v, ok := strings.Cut(arg, "="); ok && !strings.HasPrefix(arg, "-") {
			fields[k] = v
		}
	}
	send := func(method, path string, body any) (*http.Request, error) {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		return http.NewRequest(method, base+"/v1/"+path, strings.NewReader(string(data)))
	}
	switch {
	case strings.HasPrefix(words, "kv get "):
		path := strings.Replace(args[2], "/", "/data/", 1)
		r, err = http.NewRequest(http.MethodGet, base+"/v1/"+path, nil)
		return r, "reading " + path, err
	case strings.HasPrefix(words, "kv put "):
		path := strings.Replace(args[2], "/", "/data/", 1)
		r, err = send(http.MethodPut, path, map[string]any{"data": fields})
		return r, "writing data to " + path, err
	case strings.HasPrefix(words, "write "): // of a login: the password is in a file
		path := args[1]
		r, err = send(http.MethodPut, path, map[string]any{"password": "alice's password"})
		return r, "writing data to " + path, err
	case strings.HasPrefix(words, "login "):
		mount := "userpass"
		for _, arg := range args {
			if method, ok := strings.CutPrefix(arg, "-method="); ok {
				mount = method
			}
		}
		login := map[string]any{"password": "alice's password"}
		if mount == "okta" {
			login["nonce"] = rand.Text()[:20] // it asks for the number itself
		}
		r, err = send(http.MethodPut, fmt.Sprintf("auth/%s/login/%s", mount, fields["username"]), login)
		return r, "logging in", err
	}
	return nil, "", errors.New("this vault knows: kv get PATH, kv put PATH K=V, write auth/MOUNT/login/NAME password=@FILE, login -method=MOUNT username=NAME")
}

func vaultSays(resp *http.Response, doing string, body []byte) (text string, code int) {
	var answer struct {
		Data struct {
			Data map[string]any `json:"data"`
		} `json:"data"`
		Auth *struct {
			Token string `json:"client_token"`
		} `json:"auth"`
		WrapInfo *wrapInfo `json:"wrap_info"`
		Warnings []string  `json:"warnings"`
		Errors   []string  `json:"errors"`
	}
	jsonErr := json.Unmarshal(body, &answer)
	switch {
	case resp.StatusCode >= http.StatusBadRequest:
		text = fmt.Sprintf("Error %s: Error making API request.\n\nURL: %s %s\nCode: %d. ", doing, resp.Request.Method, resp.Request.URL, resp.StatusCode)
		if jsonErr != nil {
			return text + "Raw Message:\n\n" + string(body) + "\n", 2
		}
		return text + "Errors:\n\n* " + strings.Join(answer.Errors, "\n* ") + "\n", 2
	case answer.Auth != nil && doing != "logging in":
		return "Key      Value\n---      -----\ntoken    " + answer.Auth.Token + "\n", 0
	case answer.Auth != nil:
		return "Success! You are now authenticated.\ntoken    " + answer.Auth.Token + "\n", 0
	case answer.WrapInfo != nil:
		return heldText(answer.WrapInfo, answer.Warnings), 0
	case answer.Data.Data == nil:
		return "Success!\n", 0
	}
	for _, k := range slices.Sorted(maps.Keys(answer.Data.Data)) {
		text += fmt.Sprintf("%-8s    %v\n", k, answer.Data.Data[k])
	}
	return "====== Data ======\nKey         Value\n---         -----\n" + text, 0
}

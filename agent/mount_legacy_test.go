package agent_test

import (
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/prompt"
)

func TestLegacyLogins(t *testing.T) {
	t.Parallel()
	const enrol = "https://api-1.duosecurity.com/portal?code=48bac5d9393fb2c2&akey=DIXX"
	duo := func(set func(d *devvault.LegacyDuo)) func(*mountFixture) {
		return func(r *mountFixture) { set(r.duo) }
	}
	for name, login := range map[string]mountLogin{
		"a code":               {answers: []string{"135790"}, want: reply{200, "client_token", "approved"}, asked: 1},
		"a code with a blank":  {answers: []string{"135 790"}, want: reply{200, "client_token", "approved"}, asked: 1},
		"a push":               {answers: []string{"Push"}, set: duo(func(d *devvault.LegacyDuo) { d.Always(true) }), want: reply{200, "client_token", "approved"}, asked: 1},
		"a form":               {body: "password=pw", answers: []string{"135790"}, want: reply{200, "client_token", "approved"}, asked: 1},
		"the second code":      {answers: []string{"000000", "135790"}, want: reply{200, "client_token", "approved"}, asked: 2},
		"wrong codes":          {answers: []string{"000000", "000001", "000002"}, want: reply{403, `Incorrect passcode. Please try again.","stepup: vault did not accept`, "rejected"}, asked: 3},
		"a wrong code, a push": {answers: []string{"000000", "push"}, set: duo(func(d *devvault.LegacyDuo) { d.Always(true) }), want: reply{200, "client_token", "approved"}, asked: 2},
		"no":                   {answers: []string{"no"}, want: reply{403, `{"errors":["stepup: the second factor was denied`, "denied"}, asked: 1},
		"the push is refused":  {answers: []string{"push"}, set: duo(func(d *devvault.LegacyDuo) { d.Always(false) }), want: reply{403, `Login request denied.","stepup: the push was refused`, "denied"}, asked: 1},
		"wrong password":       {body: `{"password":"x"}`, answers: []string{"135790"}, want: reply{400, `{"errors":["invalid username or password"]}`, ""}, asked: 1},
		"code of the app":      {body: `{"password":"pw","passcode":"135790"}`, want: reply{200, "client_token", ""}},
		"push of the app":      {body: `{"password":"pw","method":"push"}`, set: duo(func(d *devvault.LegacyDuo) { d.Always(true) }), want: reply{200, "client_token", ""}},
		"nobody to ask":        {set: duo(func(d *devvault.LegacyDuo) { d.Always(true) }), want: reply{200, `"warnings":["stepup: there was no way to ask`, "unavailable"}, asked: 1},
		"nobody, and refused":  {set: duo(func(d *devvault.LegacyDuo) { d.Always(false) }), want: reply{400, `Login request denied.","stepup: there was no way to ask`, "unavailable"}, asked: 1},
		"not enrolled":         {answers: []string{"push"}, set: duo(func(d *devvault.LegacyDuo) { d.Unenrolled(enrol) }), want: reply{403, "enrol at " + strings.ReplaceAll(enrol, "&", `\u0026`), "unavailable"}, asked: 1},
		"duo is down":          {answers: []string{"push"}, set: duo(func(d *devvault.LegacyDuo) { d.Fail(devvault.DuoUnreachable) }), want: reply{403, "break-glass", "unavailable"}, asked: 1},
		"duo is down, 1.10":    {answers: []string{"push"}, set: duo(func(d *devvault.LegacyDuo) { d.Fail(devvault.DuoUnreachable); d.LowerCase() }), want: reply{403, "break-glass", "unavailable"}, asked: 1},
		"wrong key":            {answers: []string{"push"}, set: duo(func(d *devvault.LegacyDuo) { d.Fail(devvault.DuoWrongKey) }), want: reply{403, "do not work together", "unavailable"}, asked: 1},
		"locked":               {answers: []string{"135790"}, set: duo(func(d *devvault.LegacyDuo) { d.Fail(devvault.DuoLocked) }), want: reply{403, "duo does not let you in", "unavailable"}, asked: 1},
		"no JSON":              {body: `[]`, want: reply{400, "error parsing JSON", ""}},
	} {
		t.Run(name, func(t *testing.T) { login.run(t, ldapLogin) })
	}
}

func TestLegacyPushIsToldAndDeniedHere(t *testing.T) {
	t.Parallel()
	r := newMountFixture(t, "push")
	done := r.later(t, ldapLogin, pw)
	if q := wait(t, r.told); q.Kind != prompt.Push || q.Path != "auth/ldap/login/alice" || q.MethodType != "duo" {
		t.Errorf("told %+v", q)
	}
	ringing(t, r.duo)
	if _, err := r.control().Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(t, <-done, reply{403, "cancelled by stepup lock", "denied"})
}

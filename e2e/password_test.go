package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// withPassword changes where the password of a login grant comes from.
func (s setup) withPassword(line string) setup {
	s.extra = strings.Replace(s.extra, `password = "prompt"`, line, 1)
	return s
}

// A password that Vault took is kept in the keyring; one that Vault no longer
// takes is asked for again.
func TestPasswordFromKeyring(t *testing.T) {
	t.Parallel()
	d := newDesktop(t)
	w := newFixture(t, "login")
	var changed atomic.Bool
	p := newResponder(t, func(_ context.Context, a asked) answer {
		if changed.Load() && a.Kind == "passcode" {
			return deny() // a third code would take half a minute
		}
		return w.answer(t, a)
	})
	s := w.setup(p).withPassword(`password = "keyring"`)
	s.store, s.env = "keyring", d.env
	a := w.start(t, s)
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	a.stepup("").ok(t, "lock")
	a.restart(t)
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	equal(t, "prompts", p.kinds(t), "password passcode passcode")
	a.stepup("").ok(t, "lock")
	w.password += "-changed"
	w.stepUpUser(t, nil)
	changed.Store(true)
	w.get().send(t, a.addr).wantStep(t, 403, "denied")
	equal(t, "prompts", p.kinds(t), "password passcode passcode password passcode")
	contains(t, "the reason to ask again", p.prompts(t)[3].Message, "wrong password")
}

// Five wrong passwords lock the user at Vault, and then the right one is refused, too: that is
// said, and the kept password stays.
func TestLockedUserKeepsPassword(t *testing.T) {
	t.Parallel()
	d := newDesktop(t)
	w := newFixture(t, "login")
	p := w.typist(t)
	s := w.setup(p).withPassword(`password = "keyring"`)
	s.store, s.env = "keyring", d.env
	a := w.start(t, s)
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	wrong := request("POST", w.source, "").with(`{"password":"not it"}`)
	for range 5 {
		wrong.send(t, w.server.addr).wantPlain(t, 400)
	}
	wrong.with(fmt.Sprintf(`{"password":%q}`, w.password)).send(t, w.server.addr).wantPlain(t, 403)
	a.stepup("").ok(t, "lock")
	g := w.get().send(t, a.addr)
	g.wantStep(t, 403, "unavailable")
	contains(t, "the reason", g.body, "five wrong ones have locked the user")
	mount, name, _ := strings.Cut(strings.TrimPrefix(w.source, "auth/"), "/login/")
	w.server.write(t, fmt.Sprintf("sys/locked-users/%s/unlock/%s", w.server.accessor(t, mount), name), nil)
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	equal(t, "prompts", p.kinds(t), "password passcode passcode")
}

func TestPasswordFromCommand(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "login")
	p := w.typist(t)
	file := filepath.Join(t.TempDir(), "password")
	write(t, file, w.password+"\nnot this line\n")
	a := w.start(t, w.setup(p).withPassword(fmt.Sprintf("command = [\"cat\", %q]", file)))
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	equal(t, "prompts", p.kinds(t), "passcode")
}

// A rule that names the method takes its code along with the password, in one question,
// also where the password is wrong at first. The code was not sent then, so it is
// still good.
func TestPasswordAndCodeTogether(t *testing.T) {
	t.Parallel()
	w := newFixture(t, "login")
	wrong, code := w.password+"-not", sync.OnceValue(w.codes.next)
	p := newResponder(t, func(_ context.Context, a asked) answer {
		if a.Kind != "password" {
			t.Errorf("asked %+v", a)
			return deny()
		}
		password := w.password
		if a.Attempt == 1 {
			password = wrong
		}
		return answer{text: password + "\n" + code()}
	})
	s := w.setup(p)
	s.extra = fmt.Sprintf("mfa_method %q { type = \"totp\" }\n", w.codes.name) +
		strings.Replace(s.extra, "  grant ", fmt.Sprintf("  methods = [%q]\n  grant ", w.codes.name), 1)
	s.hide = append(s.hide, wrong)
	a := w.start(t, s)
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	w.get().send(t, a.addr).wantStep(t, 200, "cached")
	equal(t, "prompts", p.kinds(t), "password password")
}

// A seed that stepup keeps makes the codes, but never without a yes.
func TestPasscodeFromKeyring(t *testing.T) {
	t.Parallel()
	d := newDesktop(t)
	w := newFixture(t, "token")
	p := newResponder(t, func(_ context.Context, a asked) answer {
		if a.Kind != "confirm" {
			t.Errorf("asked %+v", a)
			return deny()
		}
		return answer{}
	})
	s := w.setup(p)
	s.store, s.env = "keyring", d.env
	s.extra = strings.Replace(s.extra, `{ type = "totp" }`, "{\n type = \"totp\"\n passcode_source = \"keyring\"\n}", 1)
	a := w.start(t, s)
	seed := fmt.Sprintf("otpauth://totp/Vault:%s?secret=%s&issuer=Vault\n", w.name, w.codes.secret)
	a.stepup(seed).ok(t, "totp", "add", w.codes.name)
	w.get().send(t, a.addr).wantStep(t, 200, "approved")
	equal(t, "prompts", p.kinds(t), "confirm")
}

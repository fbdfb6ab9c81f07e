package stepup_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// A key is a program that waits for a finger.
type key struct {
	says    []string      // on standard error, one each second
	touched time.Duration // 0: never
	fails   error
	ended   atomic.Int32
}

func (k *key) run(ctx context.Context, said func(string)) (secret.Secret, error) {
	defer k.ended.Add(1)
	start := time.Now()
	for _, line := range k.says {
		said(line)
		if err := wait(ctx, time.Second); err != nil {
			return "", err
		}
	}
	if k.touched == 0 {
		<-ctx.Done()
		return "", ctx.Err()
	}
	if err := wait(ctx, k.touched-time.Since(start)); err != nil {
		return "", err
	}
	return "111111", k.fails
}

const touch = "passcode totp 1/3 'ykman' is asked for a code of totp: touch your key?"

// A program that gives the code may wait for a touch: the person reads that within a second,
// with what it says last, and may type a code instead, or say no. It has the time of a prompt.
func TestProgramThatWaitsForATouch(t *testing.T) {
	type test struct {
		key   key
		codes []string
		took  time.Duration
		want  want
	}
	said := []string{"Touch your YubiKey..."}
	run(t, map[string]*test{
		"at once": {key: key{touched: 500 * time.Millisecond}, took: 500 * time.Millisecond,
			want: want{outcome: mfa.Approved, sent: []string{"totp:111111"}}},
		"touched": {key: key{says: said, touched: 40 * time.Second}, codes: []string{"never"}, took: 40 * time.Second,
			want: want{outcome: mfa.Approved, sent: []string{"totp:111111"}, asked: []string{touch + " It says: Touch your YubiKey..."}}},
		"a code is typed": {key: key{touched: time.Hour}, codes: []string{"5s 111111"}, took: 5700 * time.Millisecond,
			want: want{outcome: mfa.Approved, sent: []string{"totp:111111"}, asked: []string{touch}}},
		"no": {key: key{touched: time.Hour}, codes: []string{"no"}, took: 700 * time.Millisecond,
			want: want{outcome: mfa.Denied, asked: []string{touch}}},
		"nothing happens": {key: key{}, codes: []string{"never"}, took: 55700 * time.Millisecond,
			want: want{outcome: mfa.Timeout, text: "nobody answered the question in time", asked: []string{touch}}},
		"it says more": {key: key{says: []string{"one", "code 123456 of 3", "three", "four", "five"}, touched: 20 * time.Second},
			codes: []string{"never", "never", "never", "never"}, took: 20 * time.Second,
			want: want{outcome: mfa.Approved, asked: []string{
				touch + " It says: one", touch + " It says: code ... of 3", touch + " It says: three", touch + " It says: four",
			}}},
		"it fails after a while": {key: key{says: said, touched: 10 * time.Second, fails: errors.New("exit status 1")}, codes: []string{"never", "111111"}, took: 10 * time.Second,
			want: want{outcome: mfa.Approved, asked: []string{touch + " It says: Touch your YubiKey...",
				"passcode totp 1/3 'ykman' did not give a code of totp (Touch your YubiKey...): type it"}}},
		"closed, then touched": {key: key{touched: 10 * time.Second}, codes: []string{"dismissed"}, took: 10 * time.Second,
			want: want{outcome: mfa.Approved, asked: []string{touch}}},
		"no prompt, but touched": {key: key{touched: 10 * time.Second}, codes: []string{"unavailable"}, took: 10 * time.Second,
			want: want{outcome: mfa.Approved}},
		"no prompt, not touched": {key: key{}, codes: []string{"unavailable"}, took: 55700 * time.Millisecond,
			want: want{outcome: mfa.Timeout}},
	}, func(t *testing.T, tt *test) {
		f := newFixture(t, func(c *stepup.Config) { c.Commands = map[string][]string{"totp": {"/usr/bin/ykman", "oath"}} })
		f.secrets.run, f.up.right = tt.key.run, "totp:111111"
		f.person.codes(tt.codes...)
		start := time.Now()
		f.stepUp(t.Context(), prod("totp")).check(t, tt.want)
		equal(t, "time it took", tt.took, time.Since(start))
		synctest.Wait()
		equal(t, "programs that ended, open questions", [2]int{1, 0}, [2]int{int(tt.key.ended.Load()), f.broker.Len()})
	})
}

// The program of a login grant that gives the password is no different.
func TestPasswordProgramThatWaitsForATouch(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		k := key{}
		f.secrets.run = k.run
		f.person.codes("no")
		m := secure()
		m.Rule.Grant.Password, m.Rule.Grant.PasswordCommand = "", []string{"pass", "show"}
		f.stepUp(t.Context(), m).check(t, want{outcome: mfa.Denied, asked: []string{
			"password auth/stepup/login/alice 1/3 'pass' is asked for the password for auth/stepup/login/alice: touch your key?",
		}})
	})
}

// A prompt command that fails is where the way out leads.
func TestPromptCommandFails(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.answer = func(context.Context, prompt.Request) (string, error) {
			return "", &prompt.ProgramError{Program: "my-askpass", State: "exit status 127"}
		}
		f.stepUp(t.Context(), prod("totp")).check(t, want{outcome: mfa.Unavailable, noPrompt: true,
			text: "stepup: your prompt command my-askpass did not ask you (exit status 127); run it by hand"})
	})
}

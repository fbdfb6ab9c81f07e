package prompttest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/prompt"
)

// A Subject is a prompter with the person in front of it.
type Subject struct {
	Prompter prompt.Prompter
	Shown    func()       // blocks until a question or a push is in front of the person
	Answer   func(string) // types an answer to the question that is shown
	Deny     func()       // says no to it
	// AnswerBoth answers a password with a code beside it, "" for none; nil where the
	// prompter asks for the password alone.
	AnswerBoth func(password, code string)
}

// Request is a question as an app causes it.
func Request(kind prompt.Kind) prompt.Request {
	r := prompt.Request{
		ID: "abc234", Kind: kind, Rule: "prod-kv", Vault: "corp", Path: "kv/data/prod/db", Operation: "read",
		Method: "corp_totp", MethodType: "totp", Digits: 6, Attempt: 1, Attempts: 3,
		Requester: prompt.Requester{PID: 4711, UID: 1000, Exe: "/usr/bin/terraform", Chain: []string{"terraform", "make", "zsh"}},
		Deadline:  time.Now().Add(time.Minute),
	}
	if kind == prompt.Choose {
		r.Choices = []string{"corp_totp", "corp_duo"}
	}
	return r
}

// Kinds are the kinds of a request.
func Kinds() []prompt.Kind {
	return []prompt.Kind{prompt.Passcode, prompt.Password, prompt.Choose, prompt.Confirm, prompt.Push}
}

// CodeToo is r with the offer that a code of its method may come with the answer.
func CodeToo(r prompt.Request) prompt.Request {
	r.Method, r.WithCode = "auth/stepup/login/alice", prompt.WithCode{Method: r.Method, Digits: r.Digits}
	return r
}

// Keeping is r with the choice how long a step-up is kept.
func Keeping(r prompt.Request) prompt.Request {
	r.Keeps = []prompt.KeepChoice{
		{Word: prompt.KeepOnce, Means: "only the requests that wait"},
		{Word: prompt.KeepLock, Means: "until stepup lock, for up to 15 min"},
	}
	return r
}

// Hostile is a string that tries everything: escape sequences, line ends, bidi
// marks, quotes, expansions, invalid UTF-8, a leading dash and its length.
func Hostile() string {
	return "-x\x1b[2J\x1b]0;owned\a\r\nstepup: approved\x00\u202egnp\u2066 <b>&amp;\"'`$(id)${x}%s\\\xff\xfe" + strings.Repeat("A", 64<<10)
}

// HostileRequest is a question that consists of hostile strings.
func HostileRequest(kind prompt.Kind) prompt.Request {
	r, h := Request(kind), Hostile()
	r.Requester.Origin = prompt.OriginUser // shows the whole path
	for _, field := range []*string{
		&r.Rule, &r.Vault, &r.Namespace, &r.Path, &r.Operation, &r.Method, &r.MethodType, &r.Message, &r.Allows, &r.Number, &r.Requester.Exe,
	} {
		*field = h
	}
	r.Requester.Chain = []string{h, h}
	r.Keeps = []prompt.KeepChoice{{Word: prompt.Keep(h), Means: h}}
	if kind == prompt.Passcode {
		r.Keeps = append(r.Keeps, prompt.KeepChoice{Word: prompt.KeepOnce, Means: h})
	}
	if kind == prompt.Choose {
		r.Choices = []string{h + "1", h + "2"}
	}
	return r
}

type result struct {
	answer string
	err    error
}

// start asks in the background; the result comes within the test's patience.
func start(ctx context.Context, p prompt.Prompter, r prompt.Request) func(*testing.T) result {
	done := make(chan result, 1)
	go func() {
		answer, err := p.Prompt(ctx, r)
		done <- result{answer, err}
	}()
	return func(t *testing.T) result {
		t.Helper()
		select {
		case got := <-done:
			return got
		case <-time.After(20 * time.Second):
			t.Fatal("the prompter does not return")
			return result{}
		}
	}
}

// Run checks that a prompter keeps the promises of [prompt.Prompter]. It opens
// one subject and uses it for every case in turn, as an agent does.
func Run(t *testing.T, open func(*testing.T) Subject) {
	s := open(t)
	for _, c := range []struct {
		name, typed, want string
		kind              prompt.Kind
	}{
		{"passcode", "123456", "123456", prompt.Passcode},
		{"password with a blank", "two  words!", "two  words!", prompt.Password},
		{"choose", "corp_duo", "corp_duo", prompt.Choose},
		{"confirm", "y", "yes", prompt.Confirm},
	} {
		t.Run(c.name, func(t *testing.T) { testAnswer(t, s, exchange{Request(c.kind), c.typed, c.want}) })
	}
	t.Run("with a choice behind the code", func(t *testing.T) {
		testAnswer(t, s, exchange{Keeping(Request(prompt.Passcode)), "123456 once", prompt.WithKeep("123456", prompt.KeepOnce)})
	})
	t.Run("hostile request is answered", func(t *testing.T) {
		testAnswer(t, s, exchange{HostileRequest(prompt.Passcode), "123456", "123456"})
	})
	for _, kind := range Kinds()[:4] {
		t.Run("deny "+string(kind), func(t *testing.T) {
			wait := start(t.Context(), s.Prompter, Request(kind))
			s.Shown()
			s.Deny()
			if got := wait(t); !errors.Is(got.err, prompt.ErrDenied) {
				t.Errorf("Prompt = %q, %v; want ErrDenied", got.answer, got.err)
			}
		})
	}
	t.Run("password and code", func(t *testing.T) { testBoth(t, s) })
	t.Run("withdrawn", func(t *testing.T) { testWithdrawn(t, s, Request(prompt.Passcode)) })
	t.Run("push is told until it is decided", func(t *testing.T) { testWithdrawn(t, s, Request(prompt.Push)) })
	t.Run("withdrawn before it is shown", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if got := start(ctx, s.Prompter, Request(prompt.Passcode))(t); !errors.Is(got.err, context.Canceled) {
			t.Errorf("Prompt = %q, %v; want context.Canceled", got.answer, got.err)
		}
	})
	t.Run("next question after all that", func(t *testing.T) {
		testAnswer(t, s, exchange{Request(prompt.Passcode), "000001", "000001"})
	})
}

// An exchange is a question, the text that the person types, and the answer that it
// means.
type exchange struct {
	request     prompt.Request
	typed, want string
}

func testAnswer(t *testing.T, s Subject, e exchange) {
	t.Helper()
	wait := start(t.Context(), s.Prompter, e.request)
	s.Shown()
	s.Answer(e.typed)
	got := wait(t)
	if got.err != nil {
		t.Fatalf("Prompt: %v", got.err)
	}
	answer, err := prompt.Check(e.request, got.answer)
	if err != nil || answer != e.want {
		t.Errorf("Check(Prompt) = %q, %v; want %q", answer, err, e.want)
	}
}

// testBoth: whether or not a prompter can ask for a code beside the password, the
// password is answer enough.
func testBoth(t *testing.T, s Subject) {
	r := CodeToo(Request(prompt.Password))
	if s.AnswerBoth == nil {
		testAnswer(t, s, exchange{r, "two  words!", "two  words!"})
		return
	}
	for code, want := range map[string]string{"123 456": "two  words!\n123456", "": "two  words!"} {
		both := s
		both.Answer = func(password string) { s.AnswerBoth(password, code) }
		testAnswer(t, both, exchange{r, "two  words!", want})
	}
	testWithdrawn(t, s, r)
	wait := start(t.Context(), s.Prompter, r)
	s.Shown()
	s.Deny()
	if got := wait(t); !errors.Is(got.err, prompt.ErrDenied) {
		t.Errorf("Prompt = %q, %v; want ErrDenied", got.answer, got.err)
	}
}

func testWithdrawn(t *testing.T, s Subject, r prompt.Request) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	wait := start(ctx, s.Prompter, r)
	s.Shown()
	cancel(prompt.ErrElsewhere)
	if got := wait(t); !errors.Is(got.err, context.Canceled) {
		t.Errorf("Prompt = %q, %v; want context.Canceled", got.answer, got.err)
	}
}

// Seed is the secret of the request that EnrolmentRequest makes.
const Seed = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"

// EnrolmentRequest asks for the first code of a new secret, as Vault makes one.
func EnrolmentRequest() prompt.Request {
	r := Request(prompt.Passcode)
	r.Rule, r.Path, r.Operation = "", "auth/userpass/login/alice", "update"
	r.Enrolment = &prompt.Enrolment{
		Secret: Seed, Issuer: "Vault", Account: "0d6c2f0e-8a3c-4f7e-9d1b-2f6a1c3b5d7e",
		Algorithm: "SHA1", Digits: 6, Period: 30,
	}
	return r
}

// OTPAuth is the URL that its QR code holds.
const OTPAuth = "otpauth://totp/Vault:0d6c2f0e-8a3c-4f7e-9d1b-2f6a1c3b5d7e?secret=" + Seed + "&issuer=Vault"

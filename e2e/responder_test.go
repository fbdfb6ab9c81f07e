package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// responderArg makes the test binary a prompt command: it hands what it reads to
// the test, over HTTP, and prints what the test says.
const responderArg = "e2e-responder"

const exitHeader = "Exit-Code"

// responderMain runs in the process that stepup starts.
func responderMain(url string) int {
	asked, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 2
	}
	body, err := json.Marshal(question{Asked: asked, Environ: os.Environ()})
	if err != nil {
		fmt.Fprintln(os.Stderr, "not JSON:", err)
		return 2
	}
	resp, err := http.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return 2
	}
	defer resp.Body.Close()
	code, err := strconv.Atoi(resp.Header.Get(exitHeader))
	if err != nil {
		return 2
	}
	_, _ = io.Copy(os.Stdout, resp.Body)
	return code
}

type question struct {
	Asked   json.RawMessage
	Environ []string
}

// asked is the JSON of the contract's section "Prompt command".
type asked struct {
	ID         string   `json:"id"`
	Kind       string   `json:"kind"`
	Rule       string   `json:"rule"`
	Vault      string   `json:"vault"`
	Namespace  string   `json:"namespace"`
	Path       string   `json:"path"`
	Operation  string   `json:"operation"`
	Method     string   `json:"method"`
	MethodType string   `json:"method_type"`
	Digits     int      `json:"digits"`
	Choices    []string `json:"choices"`
	Attempt    int      `json:"attempt"`
	Attempts   int      `json:"attempts"`
	Message    string   `json:"message"`
	Number     string   `json:"number"`
	Requester  struct {
		PID   int      `json:"pid"`
		UID   int      `json:"uid"`
		Exe   string   `json:"exe"`
		Chain []string `json:"chain"`
	} `json:"requester"`
	Deadline time.Time `json:"deadline"`
}

// contractFields are always present.
var contractFields = []string{
	"id", "kind", "rule", "vault", "namespace", "path", "operation", "method", "method_type", "digits",
	"choices", "attempt", "attempts", "message", "requester", "deadline",
}

// answer is what the prompt command prints, and its exit code: 0 answered,
// 1 denied, 2 cannot ask now.
type answer struct {
	text string
	exit int
}

func code(text string) answer { return answer{text: text} }

func deny() answer { return answer{exit: 1} }

// A responder answers the prompts of one agent, in place of the user.
type responder struct {
	url string
	act func(context.Context, asked) answer

	mu     sync.Mutex
	asked  []asked
	broken []string // what the contract does not allow
	gone   int      // prompts that stepup ended before they were answered
}

// newResponder lets act answer; it is called in a goroutine of its own for each
// prompt, and its context ends when stepup ends the command.
func newResponder(t *testing.T, act func(context.Context, asked) answer) *responder {
	t.Helper()
	p := &responder{act: act}
	p.url = serve(t, p).URL
	return p
}

// noPrompt fails the test at any prompt.
func noPrompt(t *testing.T) *responder {
	t.Helper()
	return newResponder(t, func(_ context.Context, a asked) answer {
		t.Errorf("a prompt that should not be: %+v", a)
		return deny()
	})
}

// silent is a prompt without an answer: it stays open until stepup ends it.
func silent(t *testing.T) *responder {
	t.Helper()
	return newResponder(t, func(ctx context.Context, _ asked) answer { <-ctx.Done(); return answer{} })
}

// denier says no to each prompt.
func denier(t *testing.T) *responder {
	t.Helper()
	return newResponder(t, func(context.Context, asked) answer { return deny() })
}

// absent is a prompt command that cannot ask.
func absent(t *testing.T) *responder {
	t.Helper()
	return newResponder(t, func(context.Context, asked) answer { return answer{exit: 2} })
}

// typist always types a fresh code of the method.
func typist(t *testing.T, of ...*codes) *responder {
	t.Helper()
	return newResponder(t, func(_ context.Context, a asked) answer {
		for _, c := range of {
			if len(of) == 1 || c.name == a.Method {
				return code(c.next())
			}
		}
		t.Errorf("a prompt for an unknown method: %+v", a)
		return deny()
	})
}

// corrector types a wrong code first, then a right one.
func corrector(t *testing.T, c *codes) *responder {
	t.Helper()
	return newResponder(t, func(_ context.Context, a asked) answer {
		if a.Attempt == 1 {
			return code(c.wrong())
		}
		return code(c.next())
	})
}

// mistaken types nothing but wrong codes.
func mistaken(t *testing.T, c *codes) *responder {
	t.Helper()
	return newResponder(t, func(context.Context, asked) answer { return code(c.wrong()) })
}

func (p *responder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var q question
	var a asked
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	broken := breaches(q)
	if err := json.Unmarshal(q.Asked, &a); err != nil {
		broken = append(broken, err.Error())
	}
	p.mu.Lock()
	p.asked = append(p.asked, a)
	p.broken = append(p.broken, broken...)
	p.mu.Unlock()
	reply := p.act(r.Context(), a)
	if r.Context().Err() != nil {
		p.mu.Lock()
		p.gone++
		p.mu.Unlock()
		return
	}
	w.Header().Set(exitHeader, strconv.Itoa(reply.exit))
	_, _ = io.WriteString(w, reply.text+"\n")
}

// breaches holds one prompt against the contract.
func breaches(q question) (broken []string) {
	var fields map[string]any
	if err := json.Unmarshal(q.Asked, &fields); err != nil {
		return []string{err.Error()}
	}
	for _, name := range contractFields {
		if _, ok := fields[name]; !ok {
			broken = append(broken, "no field "+name)
		}
	}
	for _, kv := range q.Environ {
		name, _, _ := strings.Cut(kv, "=")
		if slices.Contains([]string{"VAULT_TOKEN", "BAO_TOKEN"}, name) || strings.Contains(kv, secretMarker) {
			broken = append(broken, "a secret in the environment: "+name)
		}
	}
	return broken
}

// prompts returns what was asked so far, and fails the test when a prompt did
// not keep to the contract.
func (p *responder) prompts(t *testing.T) []asked {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.broken {
		t.Errorf("prompt command: %s", b)
	}
	return slices.Clone(p.asked)
}

// wantAsked returns the prompts so far, which must be n.
func (p *responder) wantAsked(t *testing.T, n int) []asked {
	t.Helper()
	all := p.prompts(t)
	if len(all) != n {
		t.Fatalf("%d prompts, want %d: %+v", len(all), n, all)
	}
	return all
}

// kinds are those of the prompts so far, in order.
func (p *responder) kinds(t *testing.T) string {
	t.Helper()
	var kinds []string
	for _, a := range p.prompts(t) {
		kinds = append(kinds, a.Kind)
	}
	return strings.Join(kinds, " ")
}

// ended counts the prompts that stepup closed by itself.
func (p *responder) ended() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

// wait returns the nth prompt (from 0) once it is there.
func (p *responder) wait(t *testing.T, n int) asked {
	t.Helper()
	eventually(t, fmt.Sprintf("prompt %d", n), func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.asked) > n
	})
	return p.prompts(t)[n]
}

// TestPerson tries the driver by itself, as stepup would start it.
func TestResponder(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		say  answer
		want string
	}{
		{"answers", code("123456"), "123456\n"},
		{"denies", deny(), "\n"},
		{"cannot ask", answer{exit: 2}, "\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newResponder(t, func(context.Context, asked) answer { return test.say })
			got := program{path: os.Args[0], env: cleanEnv(t.TempDir()), stdin: `{"id":"x","kind":"passcode"}`}.
				run(t, responderArg, p.url)
			if got.code != test.say.exit || got.stdout != test.want {
				t.Errorf("exit %d, output %q; want %d, %q", got.code, got.stdout, test.say.exit, test.want)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if len(p.asked) != 1 || p.asked[0].ID != "x" || !slices.Contains(p.broken, "no field rule") {
				t.Errorf("recorded %+v, complaints %q", p.asked, p.broken)
			}
		})
	}
}

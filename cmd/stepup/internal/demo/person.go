package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// A reply is what a person does at a prompt; the words are shown.
type reply string

const (
	typeCode  reply = "types the code"
	typeWrong reply = "types a wrong one"
	denyIt    reply = "denies it"
	approveIt reply = "approves it on the phone"
)

// A promptLog notes what the person was asked.
type promptLog struct {
	prompt.Prompter

	mu    sync.Mutex
	asked []prompt.Request
	open  int           // prompts that the person has before them
	idle  chan struct{} // closed when that comes to 0; nil at the start
}

// Prompt implements [prompt.Prompter].
func (w *promptLog) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	w.mu.Lock()
	w.asked = append(w.asked, r)
	if w.open++; w.open == 1 {
		w.idle = make(chan struct{})
	}
	w.mu.Unlock()
	defer w.over()
	return w.Prompter.Prompt(ctx, r)
}

func (w *promptLog) over() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open--; w.open == 0 {
		close(w.idle)
	}
}

// wait waits until no prompt is open. A program may get its answer before the
// last line of a prompt that timed out is on the screen.
func (w *promptLog) wait() {
	w.mu.Lock()
	idle := w.idle
	w.mu.Unlock()
	if idle != nil {
		<-idle
	}
}

// take returns what was asked since the last take.
func (w *promptLog) take() []prompt.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := w.asked
	w.asked = nil
	return asked
}

// count is how many were asked since the last take.
func (w *promptLog) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.asked)
}

// A scripted person does what the script says, and denies what is not in it.
type scripted struct {
	vault *demoVault
	say   func(line string)

	mu     sync.Mutex
	script []reply
}

var _ prompt.Prompter = (*scripted)(nil)

// expect replaces the script.
func (p *scripted) expect(replies []reply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.script = replies
}

func (p *scripted) next() reply {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.script) == 0 {
		return denyIt
	}
	first := p.script[0]
	p.script = p.script[1:]
	return first
}

// Prompt implements [prompt.Prompter].
func (p *scripted) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	todo := p.next()
	p.say(scriptLine(r, todo))
	if r.Kind == prompt.Push {
		if todo == approveIt {
			p.vault.phone.Approve()
		} else {
			p.vault.phone.Deny()
		}
		<-ctx.Done()
		return "", ctx.Err()
	}
	switch todo {
	case typeCode:
		return p.vault.UnusedCode(r.Method, demoUser), nil
	case typeWrong:
		return otherCode(p.vault.Code(r.Method, demoUser)), nil
	}
	return "", prompt.ErrDenied
}

// otherCode is another code of the same length.
func otherCode(code string) string {
	digits := []byte(code)
	for i := range digits {
		digits[i] = '0' + (digits[i]-'0'+5)%10
	}
	return string(digits)
}

const phoneQuestion = "  phone    approve? enter taps yes: "

// A guide is beside a person at a terminal: it shows what their phone would
// show, and leaves the asking to stepup's own terminal prompter.
type guide struct {
	vault    *demoVault
	page     *page
	keyboard *keyboard
	terminal *terminal.Prompter
	shown    chan struct{} // gets an element when the terminal has written a push notice
}

var _ prompt.Prompter = (*guide)(nil)

func newGuide(v *demoVault, s *page, open func() (terminal.TTY, error)) *guide {
	g := &guide{vault: v, page: s, shown: make(chan struct{}, 1)}
	g.keyboard = newKeyboard(open)
	g.terminal = terminal.New(terminal.Config{Open: func() (terminal.TTY, error) {
		tty, err := open()
		if err != nil {
			return nil, err
		}
		return sharedTTY{TTY: tty, guide: g}, nil
	}})
	return g
}

// Prompt implements [prompt.Prompter].
func (g *guide) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	if r.Kind != prompt.Push {
		g.page.print("\n")
		g.showCode(ctx, r.Method)
		return g.terminal.Prompt(context.WithValue(ctx, methodKey{}, r.Method), r)
	}
	select {
	case <-g.shown: // of a question before
	default:
	}
	var deciding sync.WaitGroup
	deciding.Go(func() { g.decidePush(ctx) })
	defer deciding.Wait()
	return g.terminal.Prompt(ctx, r)
}

// decidePush is the person's thumb on the phone.
func (g *guide) decidePush(ctx context.Context) {
	select {
	case <-g.shown:
	case <-ctx.Done():
		return
	}
	switch _, err := g.keyboard.ask(ctx, phoneQuestion); {
	case err == nil:
		g.vault.phone.Approve()
	case errors.Is(err, prompt.ErrDenied):
		g.vault.phone.Deny()
	case ctx.Err() != nil:
		g.page.print("\n") // the question was still open
	}
}

// showCode shows a code of the method that has not been used, and waits for the
// next one, visibly, when there is none.
func (g *guide) showCode(ctx context.Context, method string) {
	if g.vault.Code(method, demoUser) == "" {
		return
	}
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for waited := false; ; waited = true {
		if code, current := g.vault.phoneCode(method); code != "" {
			if waited {
				g.page.print("\n")
			}
			g.page.print(g.page.phoneLine(method, code, current))
			return
		}
		g.page.print(countdown(method))
		select {
		case <-second.C:
		case <-ctx.Done():
			g.page.print("\n")
			return
		}
	}
}

// A sharedTTY is the terminal of one prompt, next to the demo's own reading.
type sharedTTY struct {
	terminal.TTY
	guide *guide
}

// methodKey is the key of the method of a question in its context.
type methodKey struct{}

// ReadLine implements [terminal.TTY]. Behind an empty answer, the phone is shown again: the
// person may have waited for a code that is another one by now.
func (t sharedTTY) ReadLine(ctx context.Context, shown bool, ask func() error) (string, error) {
	release, err := t.guide.keyboard.take(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	line, err := t.TTY.ReadLine(ctx, shown, ask)
	if method, ok := ctx.Value(methodKey{}).(string); ok && err == nil && strings.TrimSpace(line) == "" {
		t.guide.showCode(ctx, method)
	}
	return line, err
}

// Size is that of the terminal, without which no question is wrapped; 0 where it has none.
func (t sharedTTY) Size() (columns, rows int) {
	if screen, ok := t.TTY.(interface{ Size() (columns, rows int) }); ok {
		return screen.Size()
	}
	return 0, 0
}

// Close implements [terminal.TTY].
func (t sharedTTY) Close() error {
	err := t.TTY.Close()
	select {
	case t.guide.shown <- struct{}{}:
	default:
	}
	return err
}

// A keyboard has one reader at a time. A question takes it from the
// demo, which reads it while it has nothing to do.
type keyboard struct {
	open   func() (terminal.TTY, error)
	slot   chan struct{} // holds an element while it is read
	wanted chan struct{} // sent to by a question while the idle demo reads
	handed chan struct{} // sent to when the idle demo has stopped reading
}

// errWanted: a question took the keyboard.
var errWanted = errors.New("keyboard is wanted")

func newKeyboard(open func() (terminal.TTY, error)) *keyboard {
	return &keyboard{open: open, slot: make(chan struct{}, 1), wanted: make(chan struct{}), handed: make(chan struct{})}
}

// take waits for the keyboard, for a question.
func (k *keyboard) take(ctx context.Context) (release func(), err error) {
	release = func() { <-k.slot }
	select {
	case k.slot <- struct{}{}:
	case k.wanted <- struct{}{}:
		<-k.handed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return release, nil
}

// ask puts a line on the screen and waits for enter.
func (k *keyboard) ask(ctx context.Context, question string) (string, error) {
	release, err := k.take(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	return k.read(ctx, question)
}

func (k *keyboard) read(ctx context.Context, question string) (string, error) {
	tty, err := k.open()
	if err != nil {
		return "", err
	}
	defer tty.Close()
	return tty.ReadLine(ctx, true, func() error {
		_, err := fmt.Fprint(tty, question)
		return err
	})
}

// idle is ask, but gives the keyboard up with errWanted as soon as a question
// needs it.
func (k *keyboard) idle(ctx context.Context, question string) error {
	select {
	case k.slot <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() {
		_, err := k.read(ctx, question)
		done <- err
	}()
	select {
	case err := <-done:
		<-k.slot
		return err
	case <-k.wanted:
		stop()
		<-done
		k.handed <- struct{}{}
		return errWanted
	}
}

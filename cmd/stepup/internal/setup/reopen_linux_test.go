package setup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/messagebus/messagebustest"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/dialog"
	"github.com/vault-stepup/stepup/prompt/notification"
	"github.com/vault-stepup/stepup/prompt/prompttest"
	desktop "github.com/vault-stepup/stepup/prompt/session"
)

// A person sits at a screen with dunst and zenity.
type person struct {
	t       *testing.T
	bus     *messagebustest.Daemon
	environ []string
}

func newPerson(t *testing.T) *person {
	t.Helper()
	prompttest.Needs(t, "dunst", "zenity", "openbox", "xdotool", "import")
	display := prompttest.StartX(t, "1024x768x24")
	p := &person{t: t, bus: messagebustest.NewDaemon(t, "DISPLAY="+display)}
	p.environ = append(p.bus.Env, "LC_ALL=C.UTF-8")
	// dunst's context menu presses Answer.
	menu, config := filepath.Join(p.bus.Dir, "menu"), filepath.Join(p.bus.Dir, "dunstrc")
	prompttest.WriteProgram(t, menu, "#!/bin/sh\nexec grep -m1 '^#Answer'\n")
	p.write(config, "[global]\n  width = 480\n  height = 400\n  dmenu = "+menu+"\n  offset = 8x8\n")
	program, _ := exec.LookPath("dunst")
	p.write(filepath.Join(p.bus.Dir, "services", "dunst.service"),
		fmt.Sprintf("[D-BUS Service]\nName=org.freedesktop.Notifications\nExec=%s -conf %s\n", program, config))
	manager := exec.Command("openbox")
	manager.Env = p.environ
	if err := manager.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = manager.Process.Kill()
		_ = manager.Wait()
	})
	p.await("the window manager", func() bool { return p.do("get_desktop") != "" })
	return p
}

func (p *person) write(file, text string) {
	p.t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) do(args ...string) string {
	cmd := exec.CommandContext(p.t.Context(), "xdotool", args...)
	cmd.Env = p.environ
	out, _ := cmd.Output()
	return strings.TrimSpace(string(out))
}

func (p *person) await(what string, so func() bool) {
	p.t.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// window is the number of the dialog that has the keyboard, "" where there is none.
func (p *person) window() string {
	all := strings.Fields(p.do("search", "--onlyvisible", "--name", "^stepup: "))
	if len(all) == 0 {
		return ""
	}
	p.do("windowactivate", all[0])
	if p.do("getactivewindow") != all[0] {
		return ""
	}
	return all[0]
}

// answers presses Answer on the notification.
func (p *person) answers() {
	p.t.Helper()
	server := p.bus.Connect(p.t).Object("org.freedesktop.Notifications", "/org/freedesktop/Notifications")
	if err := server.Call("org.dunstproject.cmd0.ContextMenuCall", 0).Err; err != nil {
		p.t.Fatal(err)
	}
}

// shoot keeps a picture for people to look at.
func (p *person) shoot(name string) {
	if folder := os.Getenv("STEPUP_TEST_ARTIFACTS"); folder != "" {
		cmd := exec.Command("import", "-window", "root", filepath.Join(folder, name+".png"))
		cmd.Env = p.environ
		_ = cmd.Run()
	}
}

// A watched notification tells when it is on the screen.
type watched struct {
	*notification.Prompter
	shown chan struct{}
}

func (w watched) PromptOrNotify(ctx context.Context, r prompt.Request, notified func()) (string, error) {
	return w.Prompter.PromptOrNotify(ctx, r, func() {
		w.shown <- struct{}{}
		notified()
	})
}

// A window that was closed comes back by the notification, on a real desktop.
func TestAnswerBringsTheWindowBack(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	found := desktop.Finder{
		Proc:            p.bus.Dir, // of this process nothing is known there
		UserEnvironment: func(context.Context) (string, error) { return "", errors.New("none here") },
		Environ:         func() []string { return p.environ },
	}
	popup := watched{notification.New(notification.Config{Bus: found.FindBus, Limit: time.Minute}), make(chan struct{}, 9)}
	b := prompt.NewBroker(prompt.BrokerConfig{Attachable: true, Timeout: 5 * time.Minute, Prompters: []prompt.Named{
		{Name: "desktop", Prompter: dialog.New(dialog.Config{
			Session: found.Find, Environ: func() []string { return p.environ },
			LookPath: func(name string) (string, error) {
				if name != "zenity" {
					return "", exec.ErrNotFound
				}
				return exec.LookPath(name)
			},
		})},
		{Name: "notification", Prompter: popup},
	}})
	t.Cleanup(b.Close)
	r := prompttest.Request(prompt.Passcode)
	r.Deadline = time.Time{}
	type result struct {
		answer string
		err    error
	}
	results := make(chan result, 1)
	go func() {
		answer, err := b.Ask(t.Context(), r)
		results <- result{answer, err}
	}()
	p.await("a window", func() bool { return p.window() != "" })
	p.await("the window to close", func() bool {
		if p.window() != "" {
			p.do("key", "Escape")
		}
		return p.do("search", "--onlyvisible", "--name", "^stepup: ") == ""
	})
	select {
	case <-popup.shown:
	case <-time.After(time.Minute):
		t.Fatal("no notification")
	}
	p.shoot("answer-closed")
	p.answers()
	p.await("the window to come back", func() bool { return p.window() != "" })
	p.shoot("answer-reopened")
	p.do("type", "--delay", "20", "123456")
	p.do("key", "Return")
	select {
	case got := <-results:
		if got.answer != "123456" || got.err != nil {
			t.Errorf("%+v", got)
		}
	case <-time.After(time.Minute):
		t.Fatal("no answer")
	}
}

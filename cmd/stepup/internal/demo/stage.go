package demo

import (
	"bytes"
	"context"
	_ "embed" // for the demo's configuration
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/setup"
	"github.com/vault-stepup/stepup/config"
	"github.com/vault-stepup/stepup/prompt"
)

//go:embed demo.hcl
var demoConfig []byte

// A stage is the running parts of the demo: a Vault, and an agent with a folder
// of its own. The parts are the real ones; only the prompter is the demo's.
type stage struct {
	vault *demoVault
	dir   string // 0700; removed by close
	addr  string // VAULT_ADDR
	apps  [2]demoApp

	log     *os.File
	stop    context.CancelFunc
	running sync.WaitGroup // the agent
	ended   chan struct{}  // closed when the agent has ended; err is final then
	err     error
}

// openStage starts the parts and returns when the agent serves. The caller
// closes it.
func openStage(ctx context.Context, vault *demoVault, p prompt.Prompter) (*stage, error) {
	s := &stage{vault: vault, ended: make(chan struct{}), stop: func() {}}
	if err := s.open(ctx, p); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stage) open(ctx context.Context, p prompt.Prompter) error {
	dir, err := os.MkdirTemp("", "stepup-demo-")
	if err != nil {
		return &cli.Error{Err: fmt.Errorf("making a folder: %w", err), Hint: hintDemoFolder}
	}
	s.dir = dir
	ready, err := s.startAgent(ctx, p)
	if err != nil {
		return err
	}
	select {
	case running := <-ready:
		return s.connect(ctx, running)
	case <-s.ended: // close says why
		return errors.New("the agent did not start")
	}
}

// startAgent runs an agent until stop, with a configuration file as any other.
func (s *stage) startAgent(ctx context.Context, p prompt.Prompter) (ready <-chan *agent.Agent, err error) {
	file := filepath.Join(s.dir, "stepup.hcl")
	text := bytes.Replace(demoConfig, []byte("ADDRESS"), []byte(s.vault.url), 1)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	nothing := func(string) string { return "" } // what is configured on this machine does not count here
	c, diagnostics := config.Parse(file, text, config.Options{Env: nothing, Home: s.dir, RuntimeDir: s.dir, StateDir: s.dir})
	if err := diagnostics.Err(); err != nil { // of the folder: the path of a socket is short
		return nil, &cli.Error{Err: err, Hint: hintDemoFolder}
	}
	s.log, err = os.OpenFile(filepath.Join(s.dir, "agent.log"), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	log := setup.NewLogOutput(c.Log, s.log).Logger()
	with := setup.Agent(c, file, log)
	with.Prompt.Prompters = []prompt.Named{{Name: config.UseTerminal, Prompter: p}}

	// The agent stops when the demo closes it, not before: a signal must not take
	// it from under a request whose answer is still to be shown.
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	up := make(chan *agent.Agent, 1)
	var a *agent.Agent
	a = agent.New(with, agent.Options{RuntimeDir: s.dir, Version: cli.Version(), Log: log, Ready: func() { up <- a }})
	s.running.Go(func() {
		defer close(s.ended)
		s.err = a.Run(ctx)
	})
	return up, nil
}

// connect finds out where the agent listens.
func (s *stage) connect(ctx context.Context, a *agent.Agent) error {
	for _, l := range a.Status(ctx).Listeners {
		network, address := l.Network, l.Address
		app := demoApp{url: "http://" + address, client: newAppClient(network, address)}
		if network == config.TCP {
			s.addr, s.apps[0] = app.url, app
		} else {
			app.url, app.note = "http://localhost", wordsUnixSocket
			s.apps[1] = app
		}
	}
	if s.addr == "" || s.apps[1].client == nil {
		return errors.New("the agent does not listen")
	}
	s.vault.tap.take()
	return nil
}

// close stops everything, callers first, and removes the
// folder.
func (s *stage) close() error {
	for _, app := range s.apps {
		if app.client != nil {
			app.client.CloseIdleConnections()
		}
	}
	s.stop()
	s.running.Wait()
	err := s.err
	if s.log != nil {
		_ = s.log.Close()
	}
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// A demoApp is a program that knows nothing of stepup but its address.
type demoApp struct {
	client *http.Client
	url    string
	note   string // beside the calls that it makes
}

func newAppClient(network, address string) *http.Client {
	var d net.Dialer
	return &http.Client{Transport: &http.Transport{ // no proxy: loopback only
		DisableCompression: true, // bytes as they were sent
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, address)
		},
	}}
}

// An appCall is one request of the app.
type appCall struct {
	method, path string
	body         string
	token        string // "" means the app's own
	login        bool   // without a token
}

func get(path string) appCall { return appCall{method: http.MethodGet, path: path} }

// An appAnswer is what the app received.
type appAnswer struct {
	status int
	header http.Header
	body   []byte
}

func (a appAnswer) outcome() string { return a.header.Get("Stepup-Outcome") }

func (a demoApp) do(ctx context.Context, c appCall, token string) (appAnswer, error) {
	req, err := http.NewRequestWithContext(ctx, c.method, a.url+"/v1/"+c.path, strings.NewReader(c.body))
	if err != nil {
		return appAnswer{}, err
	}
	req.Header.Set("X-Vault-Request", "true") // as Vault's own library sends it
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return appAnswer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return appAnswer{status: resp.StatusCode, header: resp.Header, body: body}, err
}

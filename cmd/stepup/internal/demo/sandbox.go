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

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/setup"
	"github.com/vault-stepup/stepup/config"
	"github.com/vault-stepup/stepup/prompt"
)

const hintFolder = "set TMPDIR to a folder with a short path in which files may be made"

//go:embed demo.hcl
var demoConfig []byte

// A sandbox is a Vault, and an agent with a folder of its own. Both are the real ones;
// only the prompter is the demo's.
type sandbox struct {
	vault     *demoVault
	dir       string  // 0700; removed by close
	tcp, unix demoApp // at each listener of the agent

	log   *os.File
	agent *setup.Running // nil when it has not started
}

// openSandbox starts the parts and returns when the agent serves. The caller
// closes it.
func openSandbox(ctx context.Context, vault *demoVault, p prompt.Prompter) (*sandbox, error) {
	s := &sandbox{vault: vault}
	if err := s.open(ctx, p); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// open starts an agent with a configuration file as any other.
func (s *sandbox) open(ctx context.Context, p prompt.Prompter) (err error) {
	if s.dir, err = os.MkdirTemp("", "stepup-demo-"); err != nil {
		return &cli.Error{Err: fmt.Errorf("making a folder: %w", err), Hint: hintFolder}
	}
	file := filepath.Join(s.dir, "stepup.hcl")
	text := bytes.Replace(demoConfig, []byte("ADDRESS"), []byte(s.vault.url), 1)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	nothing := func(string) string { return "" } // what is configured on this machine does not count here
	c, diagnostics := config.Parse(file, text, config.Options{Env: nothing, Home: s.dir, RuntimeDir: s.dir, StateDir: s.dir})
	if err := diagnostics.Err(); err != nil { // of the folder: the path of a socket is short
		return &cli.Error{Err: err, Hint: hintFolder}
	}
	s.log, err = os.OpenFile(filepath.Join(s.dir, "agent.log"), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	log := setup.NewLogOutput(c.Log, s.log).Logger()
	c.Prompt.Prompters = []prompt.Named{{Name: agent.UseTerminal, Prompter: p}}
	s.agent, err = setup.Start(ctx, *c, agent.Options{RuntimeDir: s.dir, Version: cli.Version(), Log: log})
	if err != nil {
		return fmt.Errorf("the agent did not start: %w", err)
	}
	return s.connect(ctx)
}

// connect finds out where the agent listens.
func (s *sandbox) connect(ctx context.Context) error {
	for _, l := range s.agent.Status(ctx).Listeners {
		client := newAppClient(l.Network, l.Address)
		if l.Network == "tcp" {
			s.tcp = demoApp{client: client, url: "http://" + l.Address}
		} else {
			s.unix = demoApp{client: client, url: "http://localhost", note: "on the unix socket"}
		}
	}
	if s.tcp.client == nil || s.unix.client == nil {
		return errors.New("the agent does not listen")
	}
	s.vault.wire.take()
	return nil
}

// close stops everything, callers first, and removes the folder.
func (s *sandbox) close() error {
	for _, app := range []demoApp{s.tcp, s.unix} {
		if app.client != nil {
			app.client.CloseIdleConnections()
		}
	}
	var err error
	if s.agent != nil {
		err = s.agent.Stop()
	}
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
	auth         auth
	unix         bool // on the unix socket
}

// An auth says which token is sent.
type auth int

const (
	ownToken auth = iota // of the app
	noToken
	newToken // that the call before has brought
)

func get(path string) appCall { return appCall{method: http.MethodGet, path: path} }

// An appAnswer is what the program received.
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

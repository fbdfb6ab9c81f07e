package configtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/setup"
	"github.com/vault-stepup/stepup/config/requests"
	"github.com/vault-stepup/stepup/prompt"
)

// A stage is an agent with the configuration that is tested, between requests and a Vault that
// are both ours.
type stage struct {
	config agent.Config // as it was read
	vault  *refusingVault
	server *http.Server
	dir    string
	agent  *setup.Running
	client *http.Client
	name   string // of the vault block of the request
	url    string // of the listener
}

// play runs one request on a stage of its own: what an agent remembers of one question could be
// in the way of the next. An error means that there is none.
func play(ctx context.Context, c agent.Config, t requests.Request) (result, error) {
	v, ok := c.Vault(t.Vault)
	if !ok {
		if t.Vault == "" {
			return result{err: errors.New("there are several vaults: add vault = \"NAME\"")}, nil
		}
		return result{err: fmt.Errorf("the configuration has no vault %q", t.Vault)}, nil
	}
	s, err := newStage(ctx, c, v)
	if err != nil {
		return result{}, err
	}
	got := s.run(ctx, t, v)
	return got, s.close()
}

func newStage(ctx context.Context, c agent.Config, v agent.Vault) (*stage, error) {
	s := &stage{config: c, vault: &refusingVault{asked: &recorder{here: make(chan struct{})}}, client: &http.Client{Transport: &http.Transport{}}, name: v.Name}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stage) open(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.server = &http.Server{Handler: s.vault, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go func() { _ = s.server.Serve(l) }() // close waits for it
	if s.dir, err = os.MkdirTemp("", "stepup-test-"); err != nil {
		return err
	}
	s.agent, err = setup.Start(ctx, s.settings(l.Addr().String()), agent.Options{RuntimeDir: s.dir, Version: cli.Version(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	for _, l := range s.agent.Status(ctx).Listeners {
		s.url = "http://" + l.Address
	}
	return nil
}

// close ends everything.
func (s *stage) close() (err error) {
	s.client.CloseIdleConnections()
	if s.agent != nil {
		err = s.agent.Stop()
	}
	if s.server != nil {
		err = errors.Join(err, s.server.Close())
	}
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// settings are the tested configuration with the places where it would touch this machine, or a
// real Vault, taken out: no program is started, no keyring asked, nothing written. Each question
// is then the one that a person gets where none of these has the answer.
func (s *stage) settings(vault string) agent.Config {
	c := s.config
	c.Vaults, c.Methods, c.Rules = slices.Clone(c.Vaults), slices.Clone(c.Methods), slices.Clone(c.Rules)
	c.Listeners = []agent.Listener{{Network: "tcp", Address: "127.0.0.1:0", Vault: s.name}}
	for i := range c.Vaults {
		v := &c.Vaults[i]
		*v = agent.Vault{Name: v.Name, Address: &url.URL{Scheme: "http", Host: vault}, Namespace: v.Namespace, MaxBody: v.MaxBody}
	}
	for i := range c.Methods {
		c.Methods[i].PasscodeCommand, c.Methods[i].PasscodeSource = nil, ""
	}
	for i := range c.Rules {
		if g := &c.Rules[i].Grant; g.Kind == rule.LoginGrant {
			g.Password, g.PasswordCommand = "prompt", nil
		}
	}
	c.Prompt.Use = []string{agent.UseTerminal}
	c.Prompt.Prompters = []prompt.Named{{Name: agent.UseTerminal, Prompter: s.vault.asked}}
	c.Prompt.Never, c.Prompt.Detached, c.Prompt.Command = nil, "ask", nil
	c.Cache = agent.Cache{Store: agent.StoreMemory}
	none := agent.Config{}
	c.Audit, c.Telemetry, c.Relay.Express = none.Audit, none.Telemetry, false
	return c
}

// A result is what became of a request.
type result struct {
	rule     string // "" for none
	question []string
	err      error // it could not be sent
}

// run sends a request and sees what is asked.
func (s *stage) run(ctx context.Context, t requests.Request, v agent.Vault) result {
	method, body := cmp.Or(t.Method, http.MethodGet), ""
	if len(t.Login) > 0 {
		method, body = cmp.Or(t.Method, http.MethodPut), `{"password":"x"}`
	}
	path := "/v1/" + strings.TrimPrefix(strings.TrimLeft(t.Path, "/"), "v1/")
	if _, err := url.Parse(path); err != nil {
		if bad := (*url.Error)(nil); errors.As(err, &bad) {
			err = bad.Err
		}
		return result{err: fmt.Errorf("path cannot be sent: %w", err)}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		return result{err: err}
	}
	r.Header.Set("X-Vault-Request", "true")
	if t.Namespace != "" {
		r.Header.Set("X-Vault-Namespace", t.Namespace)
	}
	if t.WithToken() {
		r.Header.Set("X-Vault-Token", "test")
	}
	used := s.ruleOf(v, method, r.URL, t.Namespace)
	s.vault.play(s.scriptOf(t, used, r.URL.Path))
	resp, err := s.client.Do(r)
	if err != nil {
		return result{err: err}
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	out := result{err: err}
	if used != nil {
		out.rule = used.Name
	}
	if asked := s.vault.asked.question(); asked != nil {
		out.question = lines(*asked)
	}
	return out
}

// ruleOf is the rule of a request, as the relay finds it; nil for none.
func (s *stage) ruleOf(v agent.Vault, method string, u *url.URL, namespace string) *rule.Rule {
	q, ok := rule.Derive(method, u, cmp.Or(namespace, v.Namespace))
	if !ok {
		return nil
	}
	rules := slices.DeleteFunc(slices.Clone(s.config.Rules), func(r rule.Rule) bool { return r.Vault != "" && r.Vault != v.Name })
	m, ok := rules.Match(q)
	if !ok {
		if m, ok = rules.MatchPreflight(q); !ok {
			return nil
		}
	}
	return m.Rule
}

// scriptOf is what Vault does with a request for path under a rule, nil for none.
func (s *stage) scriptOf(t requests.Request, used *rule.Rule, path string) script {
	out := script{}
	for _, name := range t.Login {
		m := agent.Method{Name: name, Type: name}
		if i := slices.IndexFunc(s.config.Methods, func(m agent.Method) bool { return m.Name == name }); i >= 0 {
			m = s.config.Methods[i]
		}
		out.login = append(out.login, m)
	}
	if used == nil {
		return out
	}
	for _, name := range rule.Join(used.Groups()...) {
		i := slices.IndexFunc(s.config.Methods, func(m agent.Method) bool { return m.Name == name })
		if s.config.Methods[i].Pushes() {
			out.pushes = cmp.Or(used.Grant.Path, path)
		}
	}
	if len(used.Methods) == 0 && len(used.Sentinel) > 0 {
		out.denied = used.Sentinel[0].Name
	}
	return out
}

// lines are the words of a question, without what belongs to this run: the program that asked.
func lines(r prompt.Request) (all []string) {
	r.Requester = prompt.Requester{}
	all = append(all, strings.TrimPrefix(r.Title(), "stepup: "), string(r.Kind)+r.ForMethod(), "wants to "+r.Action())
	add := func(text string) {
		if text != "" {
			all = append(all, text)
		}
	}
	add(r.Details())
	for _, note := range r.Notes() {
		add(note)
	}
	if r.Kind == prompt.Push {
		add(r.Label())
	}
	if len(r.Choices) > 0 {
		add(strings.Join(r.NumberedChoices(), " "))
	}
	return all
}

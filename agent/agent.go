// Package agent is the process: it owns the listeners, the guard in front of
// them, the control socket, and every goroutine. What is done with a request is
// the matter of the packages below it.
package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/autolock"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/listener"
	"github.com/vault-stepup/stepup/agent/metrics"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/stepup/state"
	"github.com/vault-stepup/stepup/agent/suggest"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/prompt"
)

// ControlSocket is the name of the control socket in the runtime folder.
const ControlSocket = "control.sock"

// Options is what a configuration file does not say.
type Options struct {
	RuntimeDir string // 0700, created when missing; one agent runs in it
	Version    string // for the status
	Log        *slog.Logger
	Ring       cache.Ring // the keyring of the operating system; nil means there is none
	Ready      func()     // called once when every listener is open; nil is allowed
	Sockets    []*os.File // that a service manager listens on for us, in place of listeners with their addresses; Run closes them
}

// An Agent serves apps until it is stopped. [New], then [Agent.Run] once.
type Agent struct {
	options   Options
	started   time.Time
	broker    *prompt.Broker
	state     *state.State
	identity  *cache.Identifier
	loop      *listener.Loop
	others    *listener.OtherUsers // one for all listeners but that of the metrics
	bodies    *relay.Budget
	secrets   *secrets
	suggester *suggest.Suggester
	endings   endings
	servers   sync.WaitGroup // one for each goroutine that serves a listener

	metrics   *metrics.Metrics
	scraper   http.Handler
	measuring atomic.Bool // there is a listener of the metrics: requests are counted
	probes    probes

	memoryOnly sync.Once // for the one line in the log that says so

	lockers   sync.WaitGroup     // the goroutines of the autolock and of the last move
	stopMove  context.CancelFunc // ends the move of tokens to another store; guarded by mu
	stopLocks context.CancelFunc // ends it; guarded by mu
	autolock  *autolock.Watcher  // guarded by mu; nil without lock_on

	mu         sync.Mutex // guards what follows; not held while a listener serves
	config     Config
	reloaded   *control.Reload // the last one; nil before the first
	serial     int             // counts the configurations that were in force
	vaults     map[string]*upstream
	tokens     *tokens
	open       map[listenerKey]*openListener
	retired    map[*openListener]bool // closed by a reload, with requests under way
	audit      *audit.Log
	activation *listener.Activation
	running    bool
}

// New returns an agent for c. Nothing is opened yet.
func New(c Config, o Options) *Agent {
	a := &Agent{
		options:    o,
		started:    time.Now().Round(0),
		state:      state.New(),
		probes:     probes{slot: make(chan struct{}, 1)},
		loop:       &listener.Loop{},
		others:     listener.NewOtherUsers(),
		bodies:     relay.NewBudget(c.maxBodies()),
		open:       make(map[listenerKey]*openListener),
		retired:    make(map[*openListener]bool),
		config:     c,
		activation: &listener.Activation{},
	}
	a.endings.agent = a
	a.metrics = metrics.New(scraped{a})
	a.scraper = a.metrics.Handler(o.Log)
	a.secrets = newSecrets(a.ring())
	a.loop.Dialer.Timeout = 10 * time.Second
	a.broker = prompt.NewBroker(a.brokerConfig(c))
	a.suggester = a.newSuggester()
	return a
}

// Run opens the listeners and serves until ctx ends; then it cancels what is
// open, waits for its goroutines and returns nil. listener.ErrRunning means that another
// agent has the runtime folder.
func (a *Agent) Run(ctx context.Context) error {
	sockets, err := listener.NewActivation(a.options.Sockets)
	if err != nil {
		return err
	}
	defer sockets.Close()
	release, err := listener.LockRuntimeDir(a.options.RuntimeDir)
	if err != nil {
		return err
	}
	defer release()
	listener.SweepSockets(a.options.RuntimeDir)
	defer a.stop()
	if err := a.serveControl(ctx); err != nil {
		return err
	}
	a.identify(ctx)
	a.suggester.Start(ctx)
	a.mu.Lock()
	a.activation = sockets
	err = a.applyLocked(ctx, a.config)
	a.running = err == nil
	a.mu.Unlock()
	if err != nil {
		return err
	}
	if a.options.Ready != nil {
		a.options.Ready()
	}
	<-ctx.Done()
	return nil
}

// Reload replaces the configuration. Open connections, prompts and cool-downs
// stay; listeners are opened and closed as their addresses come and go. On an
// error everything stays as it was.
func (a *Agent) Reload(ctx context.Context, c Config) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.running {
		return errNotRunning
	}
	err := a.applyLocked(ctx, c)
	a.reloadedLocked(c.Changes, err)
	return err
}

// ReloadFailed keeps the configuration and lets the status say why: the file
// could not be read.
func (a *Agent) ReloadFailed(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reloadedLocked("", err)
}

func (a *Agent) reloadedLocked(changes string, err error) {
	a.metrics.Reload(err)
	a.reloaded = &control.Reload{Time: time.Now().Round(0), Changes: changes}
	if err != nil {
		a.reloaded.Changes, a.reloaded.Error = "", err.Error()
	}
}

func (a *Agent) applyLocked(ctx context.Context, c Config) error {
	log, err := a.openAudit(c)
	if err != nil {
		return err
	}
	store, moved := a.tokensFor(ctx, c)
	vaults, err := a.buildVaults(c, store, log)
	if err == nil {
		err = a.listenLocked(ctx, c, vaults)
	}
	if err != nil {
		if log != a.audit {
			_ = log.Close()
		}
		return err
	}
	for _, v := range a.vaults {
		v.transport.CloseIdleConnections()
	}
	if log != a.audit {
		_ = a.audit.Close() // step-ups that are under way still write their end there
	}
	moved()
	lockOn := a.vaults == nil || !slices.Equal(a.config.Cache.LockOn, c.Cache.LockOn)
	a.config, a.vaults, a.audit, a.tokens = c, vaults, log, store
	a.serial++
	a.bodies.SetLimit(c.maxBodies())
	a.expectLocked(c)
	a.broker.Reconfigure(a.brokerConfig(c))
	for _, address := range a.activation.Unclaimed(c.endpoints()) {
		a.options.Log.Warn("no listener block names this socket of the service manager: connections to it are never answered", "address", address)
	}
	if lockOn {
		a.watchLocked(ctx)
	}
	return nil
}

// openAudit opens the audit log of c, or keeps the one that is open.
func (a *Agent) openAudit(c Config) (*audit.Log, error) {
	switch {
	case c.AuditFile == "":
		return nil, nil
	case a.audit != nil && a.config.AuditFile == c.AuditFile:
		return a.audit, nil
	}
	log, err := audit.Open(c.AuditFile)
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	return log, nil
}

func (a *Agent) brokerConfig(c Config) prompt.BrokerConfig {
	return prompt.BrokerConfig{
		Prompters:  c.Prompt.Prompters,
		Attachable: c.Prompt.Attachable,
		Timeout:    c.Prompt.Timeout,
		MaxPending: c.Prompt.MaxPending,
		Log:        a.options.Log,
		OnEnd: func(kind prompt.Kind, event string, open time.Duration) {
			a.metrics.Prompt(string(kind), event, open)
		},
	}
}

// serveControl opens the control socket, on which alone approvals are taken:
// never on a listener that apps use.
func (a *Agent) serveControl(ctx context.Context) error {
	ln, err := listener.Listen(ctx, "unix", filepath.Join(a.options.RuntimeDir, ControlSocket))
	if err != nil {
		return err
	}
	handler := control.NewHandler(control.HandlerConfig{
		Prompts: a.broker, Status: a.Status, Lock: a.lock, Log: a.options.Log,
		Leases: leaser{a}, Obtain: a.obtain, Resume: a.resume, Explain: a.explain,
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.newListener(ctx, ln, Listener{Network: "unix"})
	l.SetHandler(handler)
	a.open[listenerKey{"control", ""}] = l
	a.serve(l)
	return nil
}

// stop ends everything: prompts first, so that the requests which wait for them
// are answered, then the servers, then the log that they write to.
func (a *Agent) stop() {
	a.mu.Lock()
	a.running = false
	all := make([]*openListener, 0, len(a.open))
	for _, l := range a.open {
		all = append(all, l)
	}
	clear(a.open)
	for l := range a.retired {
		all = append(all, l)
	}
	a.mu.Unlock()
	for _, l := range all {
		_ = l.Close()
	}
	if a.stopLocks != nil {
		a.stopLocks()
	}
	if a.stopMove != nil {
		a.stopMove()
	}
	a.lockers.Wait()
	a.broker.Close()
	a.suggester.Close()
	a.state.Close()
	var closing sync.WaitGroup
	for _, l := range all {
		closing.Go(l.Stop)
	}
	closing.Wait()
	a.servers.Wait()
	a.endings.close()
	a.revokeOnStop()
	for _, v := range a.vaults {
		v.transport.CloseIdleConnections()
	}
	_ = a.audit.Close()
}

// record writes to the audit log, if there is one.
func (a *Agent) record(r audit.Record) {
	a.mu.Lock()
	log := a.audit
	a.mu.Unlock()
	if err := log.Write(r); err != nil {
		a.options.Log.Error("audit log cannot be written", "error", err)
	}
}

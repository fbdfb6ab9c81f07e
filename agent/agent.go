// Package agent is the process: it owns the listeners, the guard in front of
// them, the control socket, and every goroutine. The packages below it handle the
// requests.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	"github.com/vault-stepup/stepup/agent/notice"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup/state"
	"github.com/vault-stepup/stepup/agent/suggest"
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// ControlSocket is the name of the control socket in the runtime folder.
const ControlSocket = "control.sock"

// Options is what a configuration file does not say.
type Options struct {
	RuntimeDir string // 0700, created when missing; one agent runs in it
	Version    string // for the status
	Log        *slog.Logger
	Keyring    keyring.Keyring // the keyring of the operating system; nil means there is none
	Ready      func()          // called once when every listener is open; nil is allowed
	Notes      func() []string // of the process around the agent, for the status; nil is allowed
	Sockets    []*os.File      // that a service manager listens on for us, in place of listeners with their addresses; Run closes them
}

// errNotRunning: the agent has not begun, or has stopped.
var errNotRunning = errors.New("agent is not running")

// An Agent serves apps until it is stopped. [New], then [Agent.Run] once.
type Agent struct {
	options   Options
	started   time.Time
	broker    *prompt.Broker
	state     *state.State
	loop      *listener.Loop
	others    *listener.OtherUsers // one for all listeners but that of the metrics
	bodies    *relay.Budget
	keeper    *keeper
	secrets   *secrets
	suggester *suggest.Suggester
	revoker   *revoker
	metrics   *metrics.Metrics
	notice    *notice.Watcher
	measuring atomic.Bool    // the metrics can be read: requests are counted
	servers   sync.WaitGroup // one for each goroutine that serves a listener
	lockOn    background     // the autolock

	mu         sync.Mutex // guards what follows; not held while a listener serves
	current    generation
	reloaded   *control.Reload   // the last one; nil before the first
	autolock   *autolock.Watcher // nil without lock_on
	open       map[listenerKey]*openListener
	retired    map[*openListener]bool // closed by a reload, with requests under way
	activation *listener.Activation
	running    bool
	folder     *folder // nil before Run
}

// A generation is a configuration that is in force, and all that was built for it. It is
// not changed; a reload replaces it.
type generation struct {
	config Config
	serial int                  // from 1; 0 before the first
	vaults map[string]*upstream // nil before the first
	tokens *tokens
	audit  *audit.Trail // nil without an audit log
}

// New returns an agent for c. Nothing is opened yet.
func New(c Config, o Options) *Agent {
	a := &Agent{
		options:    o,
		started:    time.Now().Round(0),
		state:      state.New(),
		loop:       &listener.Loop{},
		others:     listener.NewOtherUsers(),
		bodies:     relay.NewBudget(c.Relay.MaxKeptBodies),
		open:       make(map[listenerKey]*openListener),
		retired:    make(map[*openListener]bool),
		activation: &listener.Activation{},
	}
	a.revoker = newRevoker(a)
	a.notice = notice.New(func(ctx context.Context, rule string) { _, _ = a.lockRule(ctx, rule) }, o.Log)
	a.state.Uses.Observer = a.notice
	a.metrics = metrics.New(&scraped{agent: a, slot: make(chan struct{}, 1)})
	a.keeper = &keeper{known: make(chan struct{}), system: o.Keyring, metrics: a.metrics, log: o.Log}
	a.current = generation{config: c, tokens: a.keeper.open(c)}
	a.secrets = &secrets{a.keeper.keyring()}
	a.loop.Dialer.Timeout = 10 * time.Second
	a.broker = prompt.NewBroker(a.brokerConfig(c))
	a.suggester = suggest.New(suggest.Config{
		Identify: a.keeper.Identify,
		Capabilities: func(ctx context.Context, name string, q rule.Request, token secret.Secret) ([]string, error) {
			v, ok := a.inForce().vaults[name] // as it is configured at the time of the question
			if !ok {
				return nil, errNotRunning
			}
			return v.client.Capabilities(ctx, token, q.Namespace, q.Path)
		},
		Found: func(one control.Suggestion) {
			o.Log.Info("vault refused what its policies grant: it probably wants a second factor, and no rule names the path; `stepup status` has one to paste",
				"vault", one.Vault, "namespace", one.Namespace, "path", one.Path, "operations", one.Operations)
		},
	})
	return a
}

func (a *Agent) inForce() generation {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.current
}

// Run opens the listeners and serves until ctx ends; then it cancels what is
// open, waits for its goroutines and returns nil. listener.ErrRunning means that another
// agent has the runtime folder. Run also ends, with an error, where that folder is removed
// and cannot be made again.
func (a *Agent) Run(ctx context.Context) error {
	sockets, err := listener.NewActivation(a.options.Sockets)
	if err != nil {
		return err
	}
	defer sockets.Close()
	folder, err := openFolder(a.options.RuntimeDir, a.options.Log)
	if err != nil {
		return err
	}
	defer folder.close()
	a.mu.Lock()
	a.folder, a.activation = folder, sockets
	a.mu.Unlock()
	defer a.stop()
	if err := a.openControl(ctx); err != nil {
		return err
	}
	a.keeper.identify(ctx, a.current.config)
	a.suggester.Start(ctx)
	a.mu.Lock()
	err = a.applyLocked(ctx, a.current.config)
	a.running = err == nil
	controls := a.open[listenerKey{"control", ""}]
	a.mu.Unlock()
	if err != nil {
		return err
	}
	a.serve(controls)
	if a.options.Ready != nil {
		a.options.Ready()
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watching.Go(func() { folder.watcher.Run(ctx) })
	watching.Go(func() { a.metrics.RunExport(ctx, a.options.Log) })
	return folder.keep(ctx, a.restoreSockets)
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
	was := a.current
	log, err := a.openAuditLocked(c)
	if err != nil {
		return err
	}
	store, moved := a.keeper.reopen(ctx, was, c)
	next := generation{config: c, serial: was.serial + 1, tokens: store, audit: log}
	next.vaults, err = builder{a, next}.vaults()
	if err == nil {
		err = a.listenLocked(ctx, next)
	}
	if err != nil {
		if log != was.audit {
			_ = log.Close()
		}
		return err
	}
	was.closeIdle()
	if log != was.audit {
		_ = was.audit.Close() // step-ups that are under way still write their end there
	}
	moved()
	a.current = next
	a.bodies.SetLimit(c.Relay.MaxKeptBodies)
	expect(a.metrics, c)
	if was.serial == 0 || was.config.Telemetry.TextFile != c.Telemetry.TextFile {
		a.metrics.Export(c.Telemetry.TextFile)
	}
	a.broker.Reconfigure(a.brokerConfig(c))
	a.notice.Configure(c.Prompt.Notify, c.Prompt.Prompters)
	for _, address := range a.activation.Unclaimed(append(c.endpoints(), a.controlEndpoint())) {
		a.options.Log.Warn("no listener block names this socket of the service manager: connections to it are never answered", "address", address)
	}
	a.folder.watch(a.socketsLocked())
	if was.serial == 0 || !slices.Equal(was.config.Cache.LockOn, c.Cache.LockOn) {
		a.watchLocked(ctx)
	}
	return nil
}

func (g generation) closeIdle() {
	for _, v := range g.vaults {
		v.transport.CloseIdleConnections()
		v.route.CloseIdle()
	}
}

// renewConnections lets no request use a connection from before a sleep.
func (g generation) renewConnections() {
	for _, v := range g.vaults {
		v.transport.Renew()
		v.route.CloseIdle()
	}
}

// vaultNamed finds a vault by its name; "" is the only one.
func (g generation) vaultNamed(name string) (*upstream, bool) {
	if name == "" && len(g.config.Vaults) == 1 {
		name = g.config.Vaults[0].Name
	}
	v, ok := g.vaults[name]
	return v, ok
}

// watchLocked starts the goroutine that locks when the machine sleeps or its
// screen is locked, in the place of the one before.
func (a *Agent) watchLocked(ctx context.Context) {
	a.lockOn.stop()
	a.autolock = nil
	on := a.current.config.Cache.LockOn
	if len(on) == 0 {
		return
	}
	w := autolock.New(on, func(reason string) {
		a.options.Log.Info("locking", "reason", reason)
		for _, note := range a.lock(context.WithoutCancel(ctx)).Notes {
			a.options.Log.Warn("locked, but", "note", note)
		}
		a.inForce().renewConnections()
	}, a.options.Log)
	a.autolock = w
	a.lockOn.start(ctx, w.Run)
}

// A background runs one function after the other, each until it is stopped. It is not
// safe for concurrent use.
type background struct {
	working sync.WaitGroup
	cancel  context.CancelFunc // nil before the first
}

// start stops the function before, without waiting for it. The end of ctx does not stop
// run: it ends with the agent, not with the reload that started it.
func (b *background) start(ctx context.Context, run func(context.Context)) {
	b.stop()
	ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	b.working.Go(func() { run(ctx) })
}

func (b *background) stop() {
	if b.cancel != nil {
		b.cancel()
	}
}

// openAuditLocked opens the audit log of c, or keeps the one that is open.
func (a *Agent) openAuditLocked(c Config) (*audit.Trail, error) {
	if a.current.audit != nil && a.current.config.Audit == c.Audit {
		return a.current.audit, nil
	}
	log, err := c.Audit.Open()
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	return log, nil
}

func (a *Agent) brokerConfig(c Config) prompt.BrokerConfig {
	return prompt.BrokerConfig{
		Prompters:  c.Prompt.Prompters,
		Attachable: slices.Contains(c.Prompt.Use, UseAttached),
		Timeout:    c.Prompt.Timeout,
		MaxPending: c.Prompt.MaxPending,
		Log:        a.options.Log,
		OnEnd: func(kind prompt.Kind, event string, open time.Duration) {
			a.metrics.Prompt(string(kind), event, open)
		},
	}
}

func (a *Agent) controlEndpoint() listener.Endpoint {
	return listener.Endpoint{Network: "unix", Address: filepath.Join(a.options.RuntimeDir, ControlSocket)}
}

// openControl opens the control socket, on which alone approvals are taken: never on a
// listener that apps use. A client waits until the other listeners are open.
func (a *Agent) openControl(ctx context.Context) error {
	at := a.controlEndpoint()
	ln, err := a.activation.Adopt(at)
	if ln == nil && err == nil {
		ln, err = listener.ListenControl(ctx, at.Address)
	}
	if err != nil {
		return err
	}
	handler := control.NewHandler(control.HandlerConfig{
		Prompts: a.broker, Status: a.Status, Lock: a.lock, LockRule: a.lockRule, Log: a.options.Log,
		Leases: leaser{a}, Obtain: a.obtain, Resume: a.resume, Explain: a.explain,
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.newListener(ctx, ln, Listener{Network: ln.Addr().Network()})
	l.SetHandler(handler)
	a.open[listenerKey{"control", ""}] = l
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
	a.lockOn.stop()
	a.keeper.moving.stop()
	a.lockOn.working.Wait()
	a.keeper.moving.working.Wait()
	a.broker.Close()
	a.suggester.Close()
	a.state.Close()
	a.notice.Close()
	var closing sync.WaitGroup
	for _, l := range all {
		closing.Go(l.Stop)
	}
	closing.Wait()
	a.servers.Wait()
	a.revoker.close()
	a.revoker.revokeOnStop(a.current)
	a.current.closeIdle()
	_ = a.current.audit.Close()
}

// record writes to the audit log, if there is one.
func (a *Agent) record(r audit.Record) {
	if err := a.inForce().audit.Write(r); err != nil {
		a.options.Log.Error("audit log cannot be written", "error", err)
	}
}

// Alive returns nil when the agent can still do its work: its state is not
// locked for ever, and its control socket accepts, lets us in and gets an answer
// from the prompts. It does not ask the network, Vault or the keyring: an agent
// that waits for them is alive. It returns when ctx ends.
func (a *Agent) Alive(ctx context.Context) error {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !a.mu.TryLock() {
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	running := a.running
	a.mu.Unlock()
	if !running {
		return errNotRunning
	}
	_, err := control.NewClient(filepath.Join(a.options.RuntimeDir, ControlSocket)).Prompts(ctx)
	return err
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/express"
	"github.com/vault-stepup/stepup/agent/listener"
	"github.com/vault-stepup/stepup/agent/peer"
)

// A listenerKey tells listeners apart over a reload.
type listenerKey struct{ network, address string }

func (l Listener) key() listenerKey { return listenerKey{l.Network, l.Address} }

// endpoints are the addresses of the listener blocks.
func (c Config) endpoints() []listener.Endpoint {
	var all []listener.Endpoint
	for _, l := range c.Listeners {
		all = append(all, listener.Endpoint{Network: l.Network, Address: l.Address})
	}
	return all
}

// An openListener is a listener that the agent serves.
type openListener struct {
	*listener.Listener
	config  Listener
	private *private               // nil for those of the configuration
	vault   atomic.Pointer[string] // nil where no app connects
}

func (a *Agent) newListener(ctx context.Context, ln net.Listener, c Listener) *openListener {
	l := &openListener{config: c}
	g, others := a.guard(ln.Addr(), false), a.others
	if c.Network == telemetryNetwork {
		g.AnyUser = true // its handler checks the user
		// A limit of its own: what comes to the apps' listeners does not delay
		// collectors of other users.
		others = listener.NewOtherUsers()
	}
	l.Listener = listener.New(ctx, ln, listener.Config{Guard: g, Others: others, Log: a.options.Log, Measure: func(h http.Handler) http.Handler {
		return a.metrics.Measure(func() string { return a.measured(l) }, h)
	}})
	return l
}

// guard returns a guard for a listener. Each guard checks the user; whether the
// request header is required may change with the configuration.
func (a *Agent) guard(addr net.Addr, requireHeader bool) *listener.Guard {
	return &listener.Guard{Addr: addr, RequireHeader: requireHeader, Loop: a.loop, OnRefuse: a.refused}
}

// serve starts the goroutine that a.servers waits for.
func (a *Agent) serve(l *openListener) { a.servers.Go(l.Serve) }

// retireLocked closes an address. Requests that came by it end as they would have:
// one may wait for an answer to a prompt, and only the agent's own end cuts that
// short.
func (a *Agent) retireLocked(l *openListener) {
	_ = l.Close()
	a.retired[l] = true
	a.servers.Go(func() {
		l.Retire()
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.retired, l)
	})
}

// refused logs a refusal of a guard.
func (a *Agent) refused(reason string, p peer.Peer) {
	a.options.Log.Warn("request refused", "reason", reason, "uid", p.UID, "pid", p.PID, "exe", p.Exe)
	a.record(audit.Record{Event: audit.Refused, Method: reason, Requester: p})
}

// listenLocked opens what c has and is not open, gives every listener its
// handler, and closes what c no longer has. When one cannot be opened, those
// opened before are closed again and nothing has changed.
func (a *Agent) listenLocked(ctx context.Context, next generation) error {
	c, vaults := next.config, next.vaults
	opened := make(map[listenerKey]*openListener)
	keep := map[listenerKey]bool{{"control", ""}: true}
	for _, want := range c.addresses() {
		keep[want.key()] = true
		if _, ok := a.open[want.key()]; ok {
			continue
		}
		ln, err := a.activation.Adopt(listener.Endpoint{Network: want.Network, Address: want.Address})
		if ln == nil && err == nil {
			ln, err = listener.Listen(ctx, want.network(), want.Address)
		}
		if err != nil {
			for _, l := range opened {
				_ = l.Close()
			}
			return fmt.Errorf("%s listener %s: %w", want.Network, want.Address, err)
		}
		opened[want.key()] = a.newListener(ctx, ln, want)
	}
	for key, l := range opened {
		a.open[key] = l
	}
	for _, want := range c.Listeners {
		l := a.open[want.key()]
		l.config = want
		handler := vaults[want.Vault].handler
		if want.RequireHeader {
			handler = a.guard(l.Addr(), true).Wrap(handler)
		}
		l.vault.Store(&want.Vault)
		l.serve(&express.Lane{Route: vaults[want.Vault].route, Handler: handler, RequireHeader: want.RequireHeader, Count: a.counter(l)})
	}
	a.serveMetricsLocked(c.Telemetry)
	for key, l := range a.open {
		if !keep[key] && !(leaser{a}).keep(l, vaults) {
			delete(a.open, key)
			a.options.Log.Info("listener closed", "address", l.Addr().String())
			a.retireLocked(l)
		}
	}
	for _, l := range opened {
		a.serve(l)
		if l.config.Network == telemetryNetwork {
			a.options.Log.Info("metrics are served", "address", l.Addr().String())
			continue
		}
		a.options.Log.Info("listening", "network", l.config.Network, "address", l.Addr().String(), "vault", l.config.Vault)
	}
	return nil
}

// serve sets how the listener serves its requests.
func (l *openListener) serve(lane *express.Lane) {
	if lane.Route == nil {
		l.SetHandler(lane.Handler)
		return
	}
	l.SetLane(lane)
}

// counter counts the requests of a listener that take an express lane.
func (a *Agent) counter(l *openListener) func(int, time.Duration) {
	return func(status int, spent time.Duration) {
		if name := a.measured(l); name != "" {
			a.metrics.Request(name, status, spent)
		}
	}
}

// measured is the name of the vault that a listener's requests are counted for;
// "" without a telemetry block.
func (a *Agent) measured(l *openListener) string {
	if vault := l.vault.Load(); vault != nil && a.measuring.Load() {
		return *vault
	}
	return ""
}

// serveMetricsLocked gives the listener of the metrics, if there is one, its
// handler, and starts or ends the counting of requests.
func (a *Agent) serveMetricsLocked(t Telemetry) {
	a.measuring.Store(t.Address+t.TextFile != "")
	if t.Address == "" {
		return
	}
	l := a.open[t.listener().key()]
	handler := a.metrics.Handler(a.options.Log)
	if t.OtherUsers {
		handler = listener.CloseAfterOthers(handler)
		l.SetOtherUsersTime(collectorTime)
	} else {
		// The metrics hold no secret and no path. But the time of a prompt and its rule
		// would let an attacker show a prompt that passes for the expected one.
		handler = a.guard(l.Addr(), false).WrapSameUser("these metrics are for the user that started the agent; set `other_users = true` in the telemetry block to let collectors of other users read them", handler)
		l.SetOtherUsersTime(listener.OtherUsersTime)
	}
	l.SetHandler(handler)
}

// telemetryLocked is where the metrics are, "" where they are off.
func (a *Agent) telemetryLocked() string {
	open, ok := a.open[a.current.config.Telemetry.listener().key()]
	if !ok {
		return ""
	}
	return open.Addr().String() // the port that was given for :0
}

// socketsLocked are the paths of the sockets that people and programs know.
func (a *Agent) socketsLocked() []string {
	var all []string
	for _, l := range a.open {
		if l.config.Network == "unix" && l.private == nil {
			all = append(all, l.Addr().String())
		}
	}
	slices.Sort(all)
	return all
}

// restoreSockets opens the sockets again whose files are gone, and returns how many were.
func (a *Agent) restoreSockets(ctx context.Context) (count int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.open {
		restored, failed := l.Restore(ctx)
		if restored {
			count++
		}
		err = errors.Join(err, failed)
	}
	return count, err
}

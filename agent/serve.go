package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/peer"
)

// A listenerKey tells listeners apart over a reload.
type listenerKey struct{ network, address string }

func (l Listener) key() listenerKey { return listenerKey{l.Network, l.Address} }

// A listener is an open address. Its handler changes with the configuration; its
// connections stay.
type listener struct {
	config  Listener
	private *private // nil for those of the configuration
	ln      net.Listener
	server  *http.Server
	foreign *foreign // bounds connections of other users
	handler atomic.Pointer[http.Handler]
	vault   atomic.Pointer[string] // nil where no app connects
	cancel  context.CancelFunc     // ends streams that would keep a stop waiting
}

// ServeHTTP implements http.Handler.
func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*l.handler.Load()).ServeHTTP(w, r)
}

func (a *Agent) newListener(ctx context.Context, ln net.Listener, c Listener) *listener {
	l := &listener{config: c, ln: ln, foreign: a.foreign}
	g := a.guard(ln, false)
	if c.Network == telemetryNetwork {
		g.AnyUser = true // its handler looks at who asks
		// Collectors of other users are not kept waiting by what comes to the apps'
		// listeners.
		l.foreign = newForeign()
	}
	l.server = newServer(l, g, a.options.Log)
	l.server.Handler = a.metrics.Measure(func() string { return a.measured(l) }, l.server.Handler)
	// Requests outlive the moment in which the agent is told to stop, so that
	// those that are under way get their answer.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel = cancel
	l.server.BaseContext = func(net.Listener) context.Context { return base }
	return l
}

// guard is the guard of a listener. Every one checks who connects; whether the
// request header is required may change with the configuration.
func (a *Agent) guard(ln net.Listener, requireHeader bool) *Guard {
	return &Guard{Addr: ln.Addr(), RequireHeader: requireHeader, Loop: a.loop, OnRefuse: a.refused}
}

// serve starts the goroutine that a.servers waits for.
func (a *Agent) serve(l *listener) {
	a.servers.Go(func() {
		s := newScreen(l.ln, l.foreign, a.options.Log)
		err := l.server.Serve(s)
		s.end()
		if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			a.options.Log.Error("listener ended", "address", l.ln.Addr().String(), "error", err)
		}
	})
}

// close waits for answers that are under way, for a moment, and then ends them.
func (l *listener) close() {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	if err := l.server.Shutdown(ctx); err != nil {
		l.cancel()
		_ = l.server.Close()
	}
	l.cancel()
}

// retireLocked closes an address. Requests that came by it end as they would have:
// a person may be answering for one, and only the agent's own end cuts that short.
func (a *Agent) retireLocked(l *listener) {
	_ = l.ln.Close()
	a.retired[l] = true
	a.servers.Go(func() {
		_ = l.server.Shutdown(context.Background())
		l.cancel()
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.retired, l)
	})
}

// refused is told by every guard whom it did not let in.
func (a *Agent) refused(reason string, p peer.Peer) {
	a.options.Log.Warn("request refused", "reason", reason, "uid", p.UID, "pid", p.PID, "exe", p.Exe)
	a.record(audit.Record{Event: audit.Refused, Method: reason, Requester: p})
}

// listenLocked opens what c has and is not open, gives every listener its
// handler, and closes what c no longer has. When one cannot be opened, those
// opened before are closed again and nothing has changed.
func (a *Agent) listenLocked(ctx context.Context, c Config, vaults map[string]*vault) error {
	opened := make(map[listenerKey]*listener)
	keep := map[listenerKey]bool{{"control", ""}: true}
	for _, want := range c.addresses() {
		keep[want.key()] = true
		if _, ok := a.open[want.key()]; ok {
			continue
		}
		ln, err := a.passed.adopt(want)
		if ln == nil && err == nil {
			ln, err = Listen(ctx, want.network(), want.Address)
		}
		if err != nil {
			for _, l := range opened {
				_ = l.ln.Close()
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
			handler = a.guard(l.ln, true).Wrap(handler)
		}
		l.vault.Store(&want.Vault)
		l.handler.Store(&handler)
	}
	a.serveMetricsLocked(c.Telemetry)
	for key, l := range a.open {
		if !keep[key] && !l.keepPrivate(vaults) {
			delete(a.open, key)
			a.options.Log.Info("listener closed", "address", l.ln.Addr().String())
			a.retireLocked(l)
		}
	}
	for _, l := range opened {
		a.serve(l)
		if l.config.Network == telemetryNetwork {
			a.options.Log.Info("metrics are served", "address", l.ln.Addr().String())
			continue
		}
		a.options.Log.Info("listening", "network", l.config.Network, "address", l.ln.Addr().String(), "vault", l.config.Vault)
	}
	return nil
}

package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/express"
	"github.com/vault-stepup/stepup/agent/listener"
	"github.com/vault-stepup/stepup/agent/peer"
)

// privateNetwork marks the keys of private listeners.
const privateNetwork = "private"

// maxPrivate bounds the private listeners that are open at once.
const maxPrivate = 256

// A private listener serves one command and the processes that it starts.
type private struct {
	root  int             // process number of the command's parent, stepup exec
	guard *listener.Guard // reports refusals
}

// wrap lets only the processes of the command reach next.
func (p *private) wrap(next http.Handler) http.Handler { return p.guard.WrapProcessTree(p.root, next) }

// leaser opens private listeners. It implements control.Leaser.
type leaser struct{ agent *Agent }

var _ control.Leaser = leaser{}

// Listeners implements control.Leaser.
func (l leaser) Listeners() []control.Listener {
	l.agent.mu.Lock()
	defer l.agent.mu.Unlock()
	return l.listenersLocked()
}

// Lease implements control.Leaser.
func (l leaser) Lease(ctx context.Context, w control.Wanted) (control.Lease, error) {
	root := peer.FromContext(ctx).PID
	if root <= 1 {
		return control.Lease{}, control.ErrNoPeer
	}
	a := l.agent
	id := rand.Text()
	network, address := "tcp", "127.0.0.1:0"
	if w.Network == "unix" {
		network, address = "unix", listener.PrivateSocket(a.options.RuntimeDir, id)
	}
	ln, err := listener.Listen(ctx, network, address)
	if err != nil {
		return control.Lease{}, err
	}
	p := &private{root: root, guard: a.guard(ln.Addr(), false)}
	a.mu.Lock()
	defer a.mu.Unlock()
	v, err := l.admitLocked(w.Vault)
	if err != nil {
		_ = ln.Close()
		return control.Lease{}, err
	}
	name := v.config.Name
	// Not the request's context: its peer is not the peer of the listener's connections.
	open := a.newListener(context.Background(), ln, Listener{Network: network, Address: ln.Addr().String(), Vault: name})
	open.private = p
	open.vault.Store(&name)
	open.serve(l.lane(open, v))
	a.open[listenerKey{privateNetwork, id}] = open
	a.serve(open)
	a.options.Log.Info("private listener opened", "address", ln.Addr().String(), "vault", name, "pid", root)
	return control.Lease{ID: id, Network: network, Address: ln.Addr().String(), Done: open.Closed()}, nil
}

// Release implements control.Leaser. Answers that are under way are waited for by
// a goroutine that the agent waits for.
func (l leaser) Release(id string) bool {
	a := l.agent
	key := listenerKey{privateNetwork, id}
	a.mu.Lock()
	open, ok := a.open[key]
	delete(a.open, key)
	if ok && a.running {
		// Under the lock: a stop does not begin to wait in between.
		a.servers.Go(open.Stop)
	}
	a.mu.Unlock()
	if ok {
		_ = open.Close()
	}
	return ok
}

// admitLocked finds the vault of one more private listener.
func (l leaser) admitLocked(name string) (*upstream, error) {
	v, ok := l.agent.current.vaultNamed(name)
	count := 0
	for key := range l.agent.open {
		if key.network == privateNetwork {
			count++
		}
	}
	switch {
	case !l.agent.running:
		return nil, errNotRunning
	case !ok:
		return nil, control.ErrNoVault
	case count >= maxPrivate:
		return nil, errors.New("too many private listeners are open")
	}
	return v, nil
}

// keep gives a private listener the handler of a new configuration and
// reports whether it stays: without its vault it does not.
func (l leaser) keep(open *openListener, vaults map[string]*upstream) bool {
	if open.private == nil {
		return false
	}
	v, ok := vaults[open.config.Vault]
	if ok {
		open.serve(l.lane(open, v))
	}
	return ok
}

// lane is the lane of a private listener to a vault.
func (l leaser) lane(open *openListener, v *upstream) *express.Lane {
	p := open.private
	return &express.Lane{
		Route: v.route, Handler: p.wrap(v.handler), Count: l.agent.counter(open),
		Admit: func(c net.Conn) bool { return listener.AdmitsTree(p.root, c) },
	}
}

// listenersLocked are the open listeners, those of the configuration first.
func (l leaser) listenersLocked() []control.Listener {
	a := l.agent
	var all []control.Listener
	for _, l := range a.current.config.Listeners {
		address := l.Address
		if open, ok := a.open[l.key()]; ok {
			address = open.Addr().String() // the port that was given for :0
		}
		all = append(all, control.Listener{Network: l.Network, Address: address, Vault: l.Vault, RequireHeader: l.RequireHeader})
	}
	var private []control.Listener
	for _, l := range a.open {
		if l.private != nil {
			private = append(private, control.Listener{
				Network: l.config.Network, Address: l.config.Address, Vault: l.config.Vault, PID: l.private.root,
			})
		}
	}
	slices.SortFunc(private, func(a, b control.Listener) int { return strings.Compare(a.Address, b.Address) })
	return append(all, private...)
}

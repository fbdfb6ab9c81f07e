package agent

import (
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/peer"
)

// Reasons for which a private listener refuses a process.
const (
	// RefusedTree: its command did not start it.
	RefusedTree = "outside the command"
	// RefusedHidden: it hides, so that the place where it was started is unknown.
	RefusedHidden = "hidden process"
)

// privateNetwork marks the keys of private listeners.
const privateNetwork = "private"

// maxPrivate bounds the private listeners that are open at once.
const maxPrivate = 256

// A private listener serves one command and what it starts.
type private struct {
	id      string
	root    int    // process number of the command's parent, stepup exec
	refused *Guard // reports refusals
	ended   chan struct{}
}

// PrivateDir makes a folder for an agent of one command inside the runtime
// folder. Others can neither enter nor replace it. The caller removes it; those that
// were left behind by a kill are removed by the next call.
func PrivateDir(runtimeDir string) (string, error) {
	if err := privateFolder(runtimeDir); err != nil {
		return "", err
	}
	sweep(runtimeDir)
	dir, err := os.MkdirTemp(runtimeDir, privatePrefix) // 0700
	if err != nil {
		return "", fmt.Errorf("runtime folder: %w", err)
	}
	return dir, nil
}

const (
	privatePrefix = "exec-"
	socketPrefix  = "private-" // of the sockets of private listeners
	// A folder that is younger may belong to an agent that is about to lock it.
	sweepAge = time.Minute
)

// sweep removes the folders of agents that were killed.
func sweep(runtimeDir string) {
	old, _ := filepath.Glob(filepath.Join(runtimeDir, privatePrefix+"*")) // its one error is a bad pattern
	for _, dir := range old {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < sweepAge {
			continue
		}
		release, err := LockRuntimeDir(dir)
		if err != nil {
			continue // its agent is alive
		}
		_ = os.RemoveAll(dir)
		release()
	}
}

// sweepSockets removes the sockets of private listeners that a killed agent has
// left in a runtime folder which this process has locked.
func sweepSockets(runtimeDir string) {
	old, _ := filepath.Glob(filepath.Join(runtimeDir, socketPrefix+"*.sock")) // its one error is a bad pattern
	for _, path := range old {
		if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
			_ = os.Remove(path)
		}
	}
}

// leaser opens private listeners. It implements control.Leaser.
type leaser struct{ agent *Agent }

var _ control.Leaser = leaser{}

// Listeners implements control.Leaser.
func (l leaser) Listeners() []control.Listener {
	l.agent.mu.Lock()
	defer l.agent.mu.Unlock()
	return l.agent.listenersLocked()
}

// Lease implements control.Leaser.
func (l leaser) Lease(ctx context.Context, w control.Wanted) (control.Lease, error) {
	root := peer.FromContext(ctx).PID
	if root <= 1 {
		return control.Lease{}, control.ErrNoPeer
	}
	return l.agent.lease(ctx, w, root)
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
		a.servers.Go(open.close)
	}
	a.mu.Unlock()
	if ok {
		_ = open.ln.Close()
	}
	return ok
}

func (a *Agent) lease(ctx context.Context, w control.Wanted, root int) (control.Lease, error) {
	p := &private{id: rand.Text(), root: root, ended: make(chan struct{})}
	network, address := "tcp", "127.0.0.1:0"
	if w.Network == "unix" {
		// Part of the id is enough for a name, and a socket's path has little room.
		network, address = "unix", filepath.Join(a.options.RuntimeDir, socketPrefix+p.id[:8]+".sock")
	}
	ln, err := Listen(ctx, network, address)
	if err != nil {
		return control.Lease{}, err
	}
	ln = &endingListener{Listener: ln, ended: sync.OnceFunc(func() { close(p.ended) })}
	p.refused = a.guard(ln, false)
	a.mu.Lock()
	defer a.mu.Unlock()
	name, ok := a.vaultNamedLocked(w.Vault)
	if err := a.mayLeaseLocked(ok); err != nil {
		_ = ln.Close()
		return control.Lease{}, err
	}
	// Not the request's context: the listener's own connections say who is there.
	open := a.newListener(context.Background(), ln, Listener{Network: network, Address: ln.Addr().String(), Vault: name})
	open.private = p
	open.vault.Store(&name)
	handler := p.wrap(a.vaults[name].handler)
	open.handler.Store(&handler)
	a.open[listenerKey{privateNetwork, p.id}] = open
	a.serve(open)
	a.options.Log.Info("private listener opened", "address", ln.Addr().String(), "vault", name, "pid", root)
	return control.Lease{ID: p.id, Network: network, Address: ln.Addr().String(), Done: p.ended}, nil
}

func (a *Agent) mayLeaseLocked(known bool) error {
	count := 0
	for key := range a.open {
		if key.network == privateNetwork {
			count++
		}
	}
	switch {
	case !a.running:
		return errNotRunning
	case !known:
		return control.ErrNoVault
	case count >= maxPrivate:
		return errManyPrivate
	}
	return nil
}

// vaultNamedLocked finds a vault by its name; "" is the only one.
func (a *Agent) vaultNamedLocked(name string) (string, bool) {
	if name == "" && len(a.config.Vaults) == 1 {
		name = a.config.Vaults[0].Name
	}
	_, ok := a.vaults[name]
	return name, ok
}

// keepPrivate gives a private listener the handler of a new configuration and
// reports whether it stays: without its vault it does not.
func (l *listener) keepPrivate(vaults map[string]*vault) bool {
	if l.private == nil {
		return false
	}
	v, ok := vaults[l.config.Vault]
	if ok {
		handler := l.private.wrap(v.handler)
		l.handler.Store(&handler)
	}
	return ok
}

// listenersLocked are the open listeners, those of the configuration first.
func (a *Agent) listenersLocked() []control.Listener {
	var all []control.Listener
	for _, l := range a.config.Listeners {
		address := l.Address
		if open, ok := a.open[l.key()]; ok {
			address = open.ln.Addr().String() // the port that was given for :0
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

// wrap lets only the processes of the command reach next. The guard of the
// server has looked at user and headers before.
func (p *private) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _ := r.Context().Value(connKey{}).(*peer.Conn)
		if no, refused := p.check(conn); refused {
			p.refused.report(no.reason, conn)
			writeRefusal(w, no)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// check asks the kernel whose connection it is. A process that cannot be found is
// refused: a program outside the command could hide, too. On a unix socket it is
// found, because the kernel tells its number, and everybody may read whose child
// a process is.
func (p *private) check(conn *peer.Conn) (refusal, bool) {
	if conn == nil {
		return refusal{http.StatusForbidden, RefusedUnknown, wordsUnknown}, true
	}
	switch in, err := conn.DescendantOf(p.root); {
	case err != nil:
		return refusal{http.StatusForbidden, RefusedHidden, wordsHidden}, true
	case !in:
		return refusal{http.StatusForbidden, RefusedTree, wordsTree}, true
	}
	return refusal{}, false
}

// An endingListener says when it is closed, by whomever.
type endingListener struct {
	net.Listener
	ended func()
}

// Close implements net.Listener.
func (l *endingListener) Close() error {
	defer l.ended()
	return l.Listener.Close()
}

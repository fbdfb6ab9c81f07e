package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/suggest"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
)

// statusTimeout bounds what a status waits for an upstream.
const statusTimeout = 2 * time.Second

// Status collects what the agent is doing. It asks every upstream for its
// health, which may take two seconds.
func (a *Agent) Status(ctx context.Context) control.Status {
	a.mu.Lock()
	g := a.current
	s := control.Status{
		Version:    a.options.Version,
		PID:        os.Getpid(),
		Started:    a.started,
		ConfigFile: g.config.File, ConfigFiles: g.config.Files,
		Reload:    a.reloaded,
		Telemetry: a.telemetryLocked(),
		Textfile:  g.config.Telemetry.TextFile,
		Listeners: leaser{a}.listenersLocked(),
	}
	if a.reloaded != nil {
		s.ConfigError = a.reloaded.Error
	}
	if a.autolock != nil {
		s.Notes = a.autolock.Notes()
	}
	unclaimed := a.activation.Unclaimed(append(g.config.endpoints(), a.controlEndpoint()))
	a.mu.Unlock()
	if a.options.Notes != nil {
		s.Notes = append(s.Notes, a.options.Notes()...)
	}
	s.Notes = append(s.Notes, a.metrics.Notes()...)
	for _, address := range unclaimed {
		s.Notes = append(s.Notes, fmt.Sprintf("the service manager listens on %s, which no listener block names: connections to it are never answered; run `stepup service install` again", address))
	}
	for _, key := range a.state.Denials.All() {
		s.Notes = append(s.Notes, fmt.Sprintf("%q was denied or left unanswered three times in ten minutes: nobody is asked about it until `stepup resume`", key))
	}
	for i := range s.Listeners {
		s.Listeners[i].Check = "same user only"
		if err := peer.CheckTCP(); err != nil && s.Listeners[i].Network == "tcp" {
			s.Listeners[i].Check = err.Error()
		}
	}
	s.Vaults = g.health(ctx)
	for _, r := range g.config.Rules {
		s.Rules = append(s.Rules, statusRule(r))
	}
	known := suggest.Known{Vaults: make(map[string]rule.Rules), Methods: g.config.methods()}
	for name, v := range g.vaults {
		known.Vaults[name] = v.rules
	}
	s.Suggestions = a.suggester.List(known)
	s.Tokens = g.tokens.list(ctx, &a.state.Uses, a.options.Log)
	s.Cache = g.tokens.status() // after the first use of a keyring, which tells
	if g.audit != nil {
		s.Audit = &control.Audit{File: g.config.Audit.File}
		if f := g.audit.Failure(); f.Err != nil {
			s.Audit.Place, s.Audit.Error, s.Audit.Since, s.Audit.Lost = f.Place, f.Err.Error(), f.Since, f.Lost
		}
	}
	s.Prompts = a.broker.Pending()
	s.Attached = a.broker.Attached()
	s.Prompters, s.CannotAsk = a.broker.Prompters(), a.broker.CannotAsk(ctx)
	return s
}

// health asks all upstreams at once.
func (g generation) health(ctx context.Context) []control.Vault {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	all := make([]control.Vault, len(g.config.Vaults))
	var asking sync.WaitGroup
	for i, c := range g.config.Vaults {
		all[i] = control.Vault{Name: c.Name, Address: c.Address.String(), Namespace: c.Namespace}
		v, ok := g.vaults[c.Name]
		if !ok {
			continue
		}
		all[i].Express = v.route.Taken()
		asking.Go(func() {
			h, err := v.client.Health(ctx)
			if err != nil {
				all[i].Error = downBecause(err)
				return
			}
			all[i].Up, all[i].Version, all[i].Sealed = true, h.Version, h.Sealed
		})
	}
	asking.Wait()
	return all
}

// downBecause is why a server does not answer; its name and address stand beside it.
func downBecause(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return cmp.Or(errors.Unwrap(err), err).Error()
}

func statusRule(r rule.Rule) control.Rule {
	s := control.Rule{Name: r.Name, Namespace: r.Namespace, Methods: r.Methods, Grant: string(r.Grant.Kind)}
	if r.ControlGroup.Timeout > 0 {
		s.ControlGroup = r.ControlGroup.Timeout.String()
	}
	for _, p := range r.Paths {
		s.Paths = append(s.Paths, p.String())
	}
	for _, op := range r.Capabilities {
		s.Capabilities = append(s.Capabilities, string(op))
	}
	return s
}

// lock cancels every prompt, ends every step-up that is under way, and revokes
// and forgets every step-up token. A token that Vault could not be told about is
// forgotten all the same; the notes say until when it lives.
func (a *Agent) lock(ctx context.Context) control.LockResult {
	every := func(cache.Key) bool { return true }
	store := a.inForce().tokens
	dropped := store.Drop(every) // first: a step-up may take its time to end
	prompts := a.broker.Len()
	a.broker.CancelAll()
	a.state.Cancel()
	result := a.revoker.forget(ctx, store, dropped, every)
	result.Prompts = prompts
	a.options.Log.Info("locked", "questions", result.Prompts, "revoked", result.Revoked, "forgotten", result.Forgotten)
	a.record(audit.Record{Event: audit.Locked, Requester: peer.Peer{UID: -1}})
	return result
}

// lockRule is lock for what one rule has, also one that is no longer configured.
func (a *Agent) lockRule(ctx context.Context, name string) (control.LockResult, error) {
	g := a.inForce()
	of := func(k cache.Key) bool { return k.Rule == name }
	dropped := g.tokens.Drop(of) // first, as for lock
	prompts := a.broker.CancelRule(name)
	a.state.Acquisitions.CancelRule(name)
	result := a.revoker.forget(ctx, g.tokens, dropped, of)
	result.Prompts = prompts
	known := g.config.Rules.Has(name, func(rule.Rule) bool { return true })
	if !known && result.Forgotten == 0 && prompts == 0 {
		return control.LockResult{}, control.ErrNoRule
	}
	a.options.Log.Info("locked", "rule", name, "questions", result.Prompts, "revoked", result.Revoked, "forgotten", result.Forgotten)
	a.record(audit.Record{Event: audit.Locked, Rule: name, Requester: peer.FromContext(ctx)})
	return result, nil
}

// resume unmutes what was denied three times and ends the cool-downs, for the control
// socket. Any process of the user can call it, as it can run `stepup`: so it unmutes once in
// ten minutes, and the log and the audit log say which process it was. The end of a cool-down
// needs no such limit: every denial after it counts towards muting.
func (a *Agent) resume(ctx context.Context) (control.Resumed, error) {
	ended, wait := a.state.Denials.Resume()
	caller := peer.FromContext(ctx)
	if wait > 0 {
		a.options.Log.Warn("not resumed: that was done in the last ten minutes", "pid", caller.PID, "exe", caller.Exe)
		return control.Resumed{}, &control.TooSoonError{Wait: wait}
	}
	pauses := a.state.Cooldowns.EndAll()
	if ended+pauses > 0 {
		a.options.Log.Warn("resumed: questions are shown again", "unmuted", ended, "cooldowns", pauses, "pid", caller.PID, "exe", caller.Exe)
		a.record(audit.Record{Event: audit.Resumed, Requester: caller})
	}
	return control.Resumed{Rules: ended, Pauses: pauses}, nil
}

// obtain steps up to the token of a rule before a request needs it, for the
// control socket.
func (a *Agent) obtain(ctx context.Context, o control.Obtain) (control.Obtained, error) {
	v, ok := a.inForce().vaultNamed(o.Vault)
	if !ok {
		return control.Obtained{}, control.ErrNoVault
	}
	r := v.rule(o.Rule)
	switch {
	case r == nil:
		return control.Obtained{}, control.ErrNoRule
	case !r.Grant.Mints():
		return control.Obtained{}, control.ErrHeaderGrant
	case r.Grant.Scope == rule.ProgramScope:
		return control.Obtained{}, control.ErrProgramScope
	}
	// As the relay does it for a request: its cached token is found only under
	// the same namespace.
	namespace := cmp.Or(o.Namespace, v.config.Namespace)
	verdict := v.resolver.Obtain(asOurs(ctx), r, namespace, o.Token)
	count(a.metrics, r, string(verdict.Outcome))
	got := control.Obtained{Outcome: string(verdict.Outcome), Message: verdict.Message}
	if got.OK() {
		m := rule.Match{Rule: r, Request: rule.Request{Namespace: r.In(namespace)}}
		t := v.resolver.Standing(asOurs(ctx), m, o.Token).Token
		got.Expires, got.Scope, got.Confirm = t.Expires, t.Bound, r.Confirm
	}
	return got, nil
}

// ourName is what the kernel calls a process of this program.
const ourName = "stepup"

// asOurs keeps the question of stepup exec from saying that a program hides: each
// process of ours does. A program that takes the name gains nothing, because it can as
// well run stepup exec. On a unix socket the kernel tells the process and its parents.
func asOurs(ctx context.Context) context.Context {
	return peer.NewContext(ctx, func() peer.Peer {
		p := peer.FromContext(ctx)
		if p.Hidden && p.PID != 0 && p.Exe == "" && len(p.Chain) > 0 && p.Chain[0] == ourName {
			p.Hidden = false
		}
		return p
	})
}

// explain adds what the agent knows of the caller, and what Vault says about the
// token. It asks no person and changes nothing.
func (a *Agent) explain(ctx context.Context, x control.Explain) (control.Explanation, error) {
	g := a.inForce()
	e, err := Explain(g.config, x)
	if err != nil {
		return e, err
	}
	v, ok := g.vaults[e.Vault]
	if !ok {
		return e, errNotRunning
	}
	e.Agent = true
	q := rule.Request{Namespace: e.Namespace, Path: e.Path, Operation: rule.Operation(e.Operation)}
	if m, ok := ruleFor(v.rules, q); ok {
		s := v.resolver.Standing(ctx, m, x.Token)
		e.Paused, e.Waiting = s.Paused, s.Waiting
		if s.Cached {
			e.Cached = &control.Token{
				Rule: s.Rule, Vault: e.Vault, Namespace: s.Namespace, Caller: cache.Short(s.Caller), Expires: s.Token.Expires, Uses: s.Token.Uses,
			}
		}
	}
	if x.Token == "" {
		return e, nil
	}
	e.Caller = cache.Short(a.keeper.Identify(x.Token))
	words, err := v.client.Capabilities(ctx, x.Token, e.Namespace, e.Path)
	if err != nil {
		e.CapabilitiesError = vault.WhyUnknown(err)
		return e, nil
	}
	e.Capabilities, e.Granted = words, q.Grants(words)
	if m, err := v.client.Mount(ctx, x.Token, e.Namespace, e.Path); err == nil && q.InEngine() {
		mount := control.Mount(m)
		e.Mount = &mount
		e.KV2Path, _ = rule.InKV2(m.KV2(), e.Path, q.Operation)
	}
	return e, nil
}

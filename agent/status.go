package agent

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
)

// statusTimeout bounds what a status waits for an upstream.
const statusTimeout = 2 * time.Second

// Status collects what the agent is doing. It asks every upstream for its
// health, which may take two seconds.
func (a *Agent) Status(ctx context.Context) control.Status {
	a.mu.Lock()
	c, vaults, store, log := a.config, a.vaults, a.tokens, a.audit
	s := control.Status{
		Version:    a.options.Version,
		PID:        os.Getpid(),
		Started:    a.started,
		ConfigFile: c.File,
		Reload:     a.reloaded,
		Telemetry:  a.telemetryLocked(),
	}
	if a.reloaded != nil {
		s.ConfigError = a.reloaded.Error
	}
	if a.autolock != nil {
		s.Notes = a.autolock.Notes()
	}
	for _, address := range a.activation.Unclaimed(c.endpoints()) {
		s.Notes = append(s.Notes, fmt.Sprintf("the service manager listens on %s, which no listener block names: connections to it are never answered; run `stepup service install` again", address))
	}
	s.Notes = append(s.Notes, notesSilent(a.state.Denials.All())...)
	s.Listeners = a.listenersLocked()
	a.mu.Unlock()
	check := checkWords(peer.CheckTCP())
	for i := range s.Listeners {
		if s.Listeners[i].Network == "tcp" {
			s.Listeners[i].Check = check
		} else {
			s.Listeners[i].Check = checkWords(nil)
		}
	}
	s.Vaults = health(ctx, c.Vaults, vaults)
	for _, r := range c.Rules {
		s.Rules = append(s.Rules, statusRule(r))
	}
	s.Suggestions = a.suggestions(c, vaults)
	s.Tokens = a.cachedTokens(ctx, store)
	s.Cache = store.status() // after the first use of a keyring, which tells
	s.Audit = auditStatus(c.AuditFile, log)
	s.Prompts = a.broker.Pending()
	s.Attached = a.broker.Attached()
	s.Prompters = a.broker.Prompters()
	return s
}

func auditStatus(file string, log *audit.Log) *control.Audit {
	if log == nil {
		return nil
	}
	s := &control.Audit{File: file}
	if f := log.Failure(); f.Err != nil {
		s.Error, s.Since, s.Lost = f.Err.Error(), f.Since, f.Lost
	}
	return s
}

// health asks all upstreams at once.
func health(ctx context.Context, configs []Vault, vaults map[string]*upstream) []control.Vault {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	all := make([]control.Vault, len(configs))
	var asking sync.WaitGroup
	for i, c := range configs {
		all[i] = control.Vault{Name: c.Name, Address: c.Address.String()}
		v, ok := vaults[c.Name]
		if !ok {
			continue
		}
		asking.Go(func() {
			h, err := v.client.Health(ctx)
			if err != nil {
				all[i].Error = err.Error()
				return
			}
			all[i].Up, all[i].Version, all[i].Sealed = h.Up, h.Version, h.Sealed
		})
	}
	asking.Wait()
	return all
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

func checkWords(err error) string {
	if err != nil {
		return err.Error()
	}
	return "same user only"
}

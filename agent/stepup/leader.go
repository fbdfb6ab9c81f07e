package stepup

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/vault"
)

// How long a cluster may take to get another active node: 6 to 7 s were seen.
const (
	leaderWithin = 15 * time.Second
	leaderPause  = 500 * time.Millisecond
)

// A relogin logs in again by the password at hand.
type relogin func(ctx context.Context) (*http.Response, error)

// afterLeader sends a payload to a new login where the held one was lost with the node that
// had it, resp and err being what came of the first validate. The codes in it were looked at
// by nothing that is left; where they were, Vault refuses them and they are asked for anew.
func (l *heldLogin) afterLeader(ctx context.Context, payload map[string][]string, resp *http.Response, err error) (*http.Response, error) {
	if !factor.Lost(resp, err) || ctx.Err() != nil {
		return resp, err
	}
	again, challenge, ok := l.loginAnew(ctx)
	switch {
	case !ok:
		return resp, err
	case resp != nil:
		_ = resp.Body.Close()
	}
	if again != nil {
		return again, nil // this node asks for no factor
	}
	l.challenge = challenge
	return l.validateInRace(ctx, payload)
}

// validateInRace validates as factor.ValidateInRace does.
func (l *heldLogin) validateInRace(ctx context.Context, payload map[string][]string) (*http.Response, error) {
	return factor.ValidateInRace(ctx, func(ctx context.Context) (*http.Response, error) {
		return l.config.Vault.Validate(ctx, l.challenge, payload)
	})
}

// loginAnew logs in again, and waits for an active node for that. The challenge is one that
// the methods of the first answer; where Vault asks for none, its answer is resp.
func (l *heldLogin) loginAnew(ctx context.Context) (resp *http.Response, c mfa.Challenge, ok bool) {
	l.Config.Log.Info("held login was lost, logging in anew", "rule", l.Rule, "vault", l.Config.VaultName)
	for until := time.Now().Add(leaderWithin); ; {
		resp, err := l.relogin(ctx)
		if err == nil && resp.StatusCode/100 == 2 {
			return l.newChallenge(resp)
		}
		again := factor.Lost(resp, err)
		if resp != nil {
			_ = resp.Body.Close()
		}
		if !again || time.Now().After(until) || !factor.Sleep(ctx, leaderPause) {
			return nil, c, false
		}
	}
}

func (l *heldLogin) newChallenge(resp *http.Response) (*http.Response, mfa.Challenge, bool) {
	c, held, err := mfa.Parse(factor.PeekBody(resp))
	if err == nil && !held {
		return resp, c, true
	}
	_ = resp.Body.Close()
	if err != nil || len(c.Constraints) != len(l.challenge.Constraints) {
		return nil, c, false
	}
	for _, constraint := range c.Constraints {
		met := func(m mfa.Method) bool {
			return slices.ContainsFunc(l.exchange.Methods, func(have mfa.Method) bool { return have.ID == m.ID })
		}
		if !slices.ContainsFunc(constraint.Any, met) {
			return nil, c, false
		}
	}
	c.Namespace, c.Node = l.challenge.Namespace, vault.Node(resp)
	return nil, c, true
}

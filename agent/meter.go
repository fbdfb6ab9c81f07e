package agent

import (
	"context"
	"errors"
	"net/http"

	"github.com/vault-stepup/stepup/agent/metrics"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// A metricsResolver counts the verdicts of a Resolver. During a step-up the clock of
// the request stands still: nearly all of that time is spent on prompts and on Vault.
type metricsResolver struct {
	*stepup.Resolver
	metrics *metrics.Metrics
}

var _ relay.Resolver = metricsResolver{}

// First implements relay.Resolver. Its time counts as the agent's, except for waits inside:
// most often it only finds a cached token.
func (c metricsResolver) First(ctx context.Context, m rule.Match, token secret.Secret, send stepup.Send) (stepup.Decision, error) {
	d, err := c.Resolver.First(ctx, m, token, send)
	return c.counted(m.Rule, d), err
}

// StepUp implements relay.Resolver.
func (c metricsResolver) StepUp(ctx context.Context, m rule.Match, token secret.Secret, send stepup.Send) stepup.Decision {
	defer metrics.Pause(ctx)()
	return c.counted(m.Rule, c.Resolver.StepUp(ctx, m, token, send))
}

// Login implements relay.Resolver.
func (c metricsResolver) Login(ctx context.Context, held mfa.Challenge, r rule.Request) stepup.Decision {
	defer metrics.Pause(ctx)()
	return c.counted(nil, c.Resolver.Login(ctx, held, r))
}

// LoginWith implements relay.Resolver. If no prompt could be shown, the login goes on without a
// factor, and may be counted then.
func (c metricsResolver) LoginWith(ctx context.Context, r rule.Request, noReplay bool, send stepup.Send) stepup.Decision {
	defer metrics.Pause(ctx)()
	d := c.Resolver.LoginWith(ctx, r, noReplay, send)
	if refused, ok := d.(stepup.Refused); ok && refused.Response == nil && refused.Verdict.NoPrompt {
		return d
	}
	return c.counted(nil, d)
}

// Resume implements relay.Resolver.
func (c metricsResolver) Resume(ctx context.Context, m rule.Match, token secret.Secret) stepup.Decision {
	defer metrics.Pause(ctx)()
	return c.countedApproval(m.Rule, c.Resolver.Resume(ctx, m, token))
}

// Await implements relay.Resolver.
func (c metricsResolver) Await(ctx context.Context, m rule.Match, token secret.Secret, held *http.Response) stepup.Decision {
	defer metrics.Pause(ctx)()
	return c.countedApproval(m.Rule, c.Resolver.Await(ctx, m, token, held))
}

// countedApproval counts the end of a wait for approvals.
func (c metricsResolver) countedApproval(r *rule.Rule, d stepup.Decision) stepup.Decision {
	if outcome := outcomeOf(d); outcome != "" {
		c.metrics.Challenge(r.Name, metrics.ControlGroup, outcome)
	}
	return d
}

// counted counts a decision that the app is told. r is nil for a login.
func (c metricsResolver) counted(r *rule.Rule, d stepup.Decision) stepup.Decision {
	count(c.metrics, r, outcomeOf(d))
	return d
}

// count counts how a step-up under r ended, a login without one. "" is none.
func count(m *metrics.Metrics, r *rule.Rule, outcome string) {
	switch {
	case outcome == "":
	case r == nil:
		m.Challenge("", metrics.LoginMFA, outcome)
	default:
		m.Challenge(r.Name, string(r.Grant.Kind), outcome)
	}
}

// outcomeOf is how a step-up ended, "" where there was none.
func outcomeOf(d stepup.Decision) string {
	switch d := d.(type) {
	case stepup.Answered:
		return string(d.Outcome)
	case stepup.Refused:
		return string(d.Verdict.Outcome)
	}
	return ""
}

// A resolveMeter implements stepup.Meter.
type resolveMeter struct{ metrics *metrics.Metrics }

var _ stepup.Meter = resolveMeter{}

// Lookup implements stepup.Meter.
func (m resolveMeter) Lookup(err error) {
	switch {
	case err == nil:
		m.metrics.Lookup(metrics.Hit)
	case errors.Is(err, cache.ErrNotFound):
		m.metrics.Lookup(metrics.Miss)
	default:
		m.metrics.Lookup(metrics.Error)
	}
}

// Decided implements stepup.Meter.
func (m resolveMeter) Decided(r *rule.Rule, d stepup.Decision) { count(m.metrics, r, outcomeOf(d)) }

// Waiting implements stepup.Meter.
func (m resolveMeter) Waiting(ctx context.Context) (done func()) { return metrics.Pause(ctx) }

// A timedAsker stops the request's clock during a prompt.
type timedAsker struct{ *prompt.Broker }

// Ask implements factor.Asker.
func (a timedAsker) Ask(ctx context.Context, r prompt.Request) (string, error) {
	defer metrics.Pause(ctx)()
	return a.Broker.Ask(ctx, r)
}

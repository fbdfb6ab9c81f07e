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

var (
	_ relay.Resolver    = metricsResolver{}
	_ relay.Approver    = metricsResolver{}
	_ relay.SinglePhase = metricsResolver{}
)

// First implements relay.Resolver. Its time counts as the agent's, except
// for waits inside: most often it only finds a cached token.
func (c metricsResolver) First(ctx context.Context, m rule.Match, token secret.Secret, send relay.Send) (*http.Response, mfa.Verdict, error) {
	resp, v, err := c.Resolver.First(ctx, m, token, send)
	c.count(m.Rule, v)
	return resp, v, err
}

// StepUp implements relay.Resolver.
func (c metricsResolver) StepUp(ctx context.Context, m rule.Match, token secret.Secret, send relay.Send) (*http.Response, mfa.Verdict) {
	defer metrics.Pause(ctx)()
	resp, v := c.Resolver.StepUp(ctx, m, token, send)
	c.count(m.Rule, v)
	return resp, v
}

// Login implements relay.Resolver.
func (c metricsResolver) Login(ctx context.Context, held mfa.Challenge, r rule.Request) (*http.Response, mfa.Verdict) {
	defer metrics.Pause(ctx)()
	resp, v := c.Resolver.Login(ctx, held, r)
	c.count(nil, v)
	return resp, v
}

// LoginWith implements relay.SinglePhase. If no prompt could be shown, the
// login goes on without a factor, and may be counted then.
func (c metricsResolver) LoginWith(ctx context.Context, r rule.Request, once bool, send relay.Send) (*http.Response, mfa.Verdict) {
	defer metrics.Pause(ctx)()
	resp, v := c.Resolver.LoginWith(ctx, r, once, send)
	if resp != nil || !v.NoPrompt {
		c.count(nil, v)
	}
	return resp, v
}

// Resume implements relay.Approver.
func (c metricsResolver) Resume(ctx context.Context, m rule.Match, token secret.Secret) (*http.Response, mfa.Verdict) {
	defer metrics.Pause(ctx)()
	resp, v := c.Resolver.Resume(ctx, m, token)
	c.approval(m.Rule, v)
	return resp, v
}

// Await implements relay.Approver.
func (c metricsResolver) Await(ctx context.Context, m rule.Match, token secret.Secret, held *http.Response) (*http.Response, mfa.Verdict) {
	defer metrics.Pause(ctx)()
	resp, v := c.Resolver.Await(ctx, m, token, held)
	c.approval(m.Rule, v)
	return resp, v
}

// approval counts the end of a wait for approvals.
func (c metricsResolver) approval(r *rule.Rule, v mfa.Verdict) {
	if v.Outcome != "" {
		c.metrics.Challenge(r.Name, metrics.ControlGroup, string(v.Outcome))
	}
}

// count counts a verdict that the app is told. r is nil for a login.
func (c metricsResolver) count(r *rule.Rule, v mfa.Verdict) {
	switch {
	case v.Outcome == "":
	case r == nil:
		c.metrics.Challenge("", metrics.LoginMFA, string(v.Outcome))
	default:
		c.metrics.Challenge(r.Name, string(r.Grant.Kind), string(v.Outcome))
	}
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

// Waiting implements stepup.Meter.
func (m resolveMeter) Waiting(ctx context.Context) (done func()) { return metrics.Pause(ctx) }

// A timedAsker stops the request's clock during a prompt.
type timedAsker struct{ *prompt.Broker }

// Ask implements stepup.Asker.
func (a timedAsker) Ask(ctx context.Context, r prompt.Request) (string, error) {
	defer metrics.Pause(ctx)()
	return a.Broker.Ask(ctx, r)
}

// A countedRing counts the uses of a keyring that failed. Step-up tokens do not
// go through it: their store knows better what was a failure.
type countedRing struct {
	cache.Ring
	metrics *metrics.Metrics
}

var _ cache.Ring = countedRing{}

// Get implements cache.Ring.
func (r countedRing) Get(ctx context.Context, service, user string) (secret.Secret, error) {
	value, err := r.Ring.Get(ctx, service, user)
	r.count(ctx, "get", err)
	return value, err
}

// Set implements cache.Ring.
func (r countedRing) Set(ctx context.Context, service, user string, value secret.Secret) error {
	err := r.Ring.Set(ctx, service, user, value)
	r.count(ctx, "put", err)
	return err
}

// Delete implements cache.Ring.
func (r countedRing) Delete(ctx context.Context, service, user string) error {
	err := r.Ring.Delete(ctx, service, user)
	r.count(ctx, "delete", err)
	return err
}

// count leaves out errors that say nothing about the keyring: a missing item, an
// item that is too large, and a canceled request.
func (r countedRing) count(ctx context.Context, operation string, err error) {
	if err == nil || errors.Is(err, cache.ErrNotFound) || errors.Is(err, cache.ErrTooLarge) || errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	r.metrics.KeyringError(operation)
}

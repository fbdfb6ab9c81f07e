package agent

import (
	"context"
	"errors"
	"net/http"

	"github.com/vault-stepup/stepup/agent/metrics"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/resolve"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/prompt"
)

// counting is a Resolver whose answers are counted. A request that is being
// stepped up waits for a person or for Vault; the little that is done in between
// is not worth telling apart.
type counting struct {
	*resolve.Resolver
	metrics *metrics.Metrics
}

var (
	_ relay.Resolver    = counting{}
	_ relay.Approver    = counting{}
	_ relay.SinglePhase = counting{}
)

// First implements relay.Resolver. Its time counts as ours but for what is
// waited for inside: most often it only finds a cached token.
func (c counting) First(ctx context.Context, m rule.Match, token cache.Secret, send relay.Send) (*http.Response, mfa.Verdict, error) {
	resp, v, err := c.Resolver.First(ctx, m, token, send)
	c.count(m.Rule, v)
	return resp, v, err
}

// StepUp implements relay.Resolver.
func (c counting) StepUp(ctx context.Context, m rule.Match, token cache.Secret, send relay.Send) (*http.Response, mfa.Verdict) {
	defer metrics.Pause(ctx)()
	resp, v := c.Resolver.StepUp(ctx, m, token, send)
	c.count(m.Rule, v)
	return resp, v
}

// Login implements relay.Resolver.
func (c counting) Login(ctx context.Context, held mfa.Challenge, r rule.Request) (*http.Response, mfa.Verdict) {
	defer metrics.Pause(ctx)()
	resp, v := c.Resolver.Login(ctx, held, r)
	c.count(nil, v)
	return resp, v
}

// LoginWith implements relay.SinglePhase. Where nobody could be asked, the login
// goes on without, and may be counted then.
func (c counting) LoginWith(ctx context.Context, r rule.Request, once bool, send relay.Send) (*http.Response, mfa.Verdict) {
	defer metrics.Pause(ctx)()
	resp, v := c.Resolver.LoginWith(ctx, r, once, send)
	if resp != nil || !v.NoPrompt {
		c.count(nil, v)
	}
	return resp, v
}

// Resume implements relay.Approver.
func (c counting) Resume(ctx context.Context, m rule.Match, token cache.Secret) (*http.Response, mfa.Verdict) {
	defer metrics.Pause(ctx)()
	resp, v := c.Resolver.Resume(ctx, m, token)
	c.approval(m.Rule, v)
	return resp, v
}

// Await implements relay.Approver.
func (c counting) Await(ctx context.Context, m rule.Match, token cache.Secret, held *http.Response) (*http.Response, mfa.Verdict) {
	defer metrics.Pause(ctx)()
	resp, v := c.Resolver.Await(ctx, m, token, held)
	c.approval(m.Rule, v)
	return resp, v
}

// approval counts how a wait for other people ended.
func (c counting) approval(r *rule.Rule, v mfa.Verdict) {
	if v.Outcome != "" {
		c.metrics.Challenge(r.Name, metrics.ControlGroup, string(v.Outcome))
	}
}

// count counts a verdict that the app is told. r is nil for a login.
func (c counting) count(r *rule.Rule, v mfa.Verdict) {
	switch {
	case v.Outcome == "":
	case r == nil:
		c.metrics.Challenge("", metrics.LoginMFA, string(v.Outcome))
	default:
		c.metrics.Challenge(r.Name, string(r.Grant.Kind), string(v.Outcome))
	}
}

// meter implements resolve.Meter.
type meter struct{ metrics *metrics.Metrics }

var _ resolve.Meter = meter{}

// Lookup implements resolve.Meter.
func (m meter) Lookup(err error) {
	switch {
	case err == nil:
		m.metrics.Lookup(metrics.Hit)
	case errors.Is(err, cache.ErrNotFound):
		m.metrics.Lookup(metrics.Miss)
	default:
		m.metrics.Lookup(metrics.Error)
	}
}

// Waiting implements resolve.Meter.
func (m meter) Waiting(ctx context.Context) (done func()) { return metrics.Pause(ctx) }

// An asker asks while the request's clock stands still.
type asker struct{ *prompt.Broker }

// Ask implements resolve.Asker.
func (a asker) Ask(ctx context.Context, r prompt.Request) (string, error) {
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
func (r countedRing) Get(ctx context.Context, service, user string) (cache.Secret, error) {
	value, err := r.Ring.Get(ctx, service, user)
	r.count(ctx, "get", err)
	return value, err
}

// Set implements cache.Ring.
func (r countedRing) Set(ctx context.Context, service, user string, value cache.Secret) error {
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

// count leaves out what says nothing about the keyring: that there is no such
// item, and that nobody wants it any more.
func (r countedRing) count(ctx context.Context, operation string, err error) {
	if err == nil || errors.Is(err, cache.ErrNotFound) || errors.Is(err, cache.ErrTooLarge) || errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	r.metrics.KeyringError(operation)
}

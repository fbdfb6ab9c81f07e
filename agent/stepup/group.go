package stepup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// People take minutes: Vault is asked soon at first, then every ten seconds.
const (
	pollFirst = time.Second
	pollMost  = 10 * time.Second
)

// A Group asks Vault about requests that other people must approve.
// *vault.Client is one.
type Group interface {
	// ControlGroup tells how far the approval has come; it uses nothing up.
	ControlGroup(ctx context.Context, token secret.Secret, namespace, accessor string) (mfa.GroupState, error)
	// Release gives out the answer of an approved request, once.
	Release(ctx context.Context, h vault.Held) (*http.Response, error)
}

// Resume implements relay.Approver: it goes on waiting where an earlier request
// of this caller, the same to the letter, gave up. A verdict without outcome
// means that there is nothing to wait for; the request is sent to Vault.
func (r *Resolver) Resume(ctx context.Context, m rule.Match, token secret.Secret) (*http.Response, mfa.Verdict) {
	if m.Fingerprint == "" || r.config.Group == nil {
		return nil, mfa.Verdict{}
	}
	w := r.groupWait(ctx, m, token)
	if w.approval = r.config.Ledger.approvals.find(w.groupKey(m)); w.approval == nil {
		return nil, mfa.Verdict{}
	}
	defer r.config.Ledger.approvals.leave(w.approval)
	// Where Vault is not asked with the caller's own token, or not asked any more,
	// nothing else shows that it has not been revoked since.
	if (isDone(w.approval.done) || w.approval.With != token) && w.dead(ctx, token) {
		return nil, mfa.Verdict{}
	}
	resp, v := w.wait(ctx)
	if v.OK() && v.Outcome != "" {
		return resp, v
	}
	if isDone(w.approval.done) && w.approval.gone {
		return nil, mfa.Verdict{}
	}
	return resp, v
}

// Await implements relay.Approver. held is Vault's answer, in memory as a whole;
// it comes back with every verdict that is not OK, its wrapping token unused.
func (r *Resolver) Await(ctx context.Context, m rule.Match, token secret.Secret, held *http.Response) (*http.Response, mfa.Verdict) {
	with := sentWith(held, token)
	own, err := keep(held, mfa.MaxHeldAnswer)
	held.Body = io.NopCloser(bytes.NewReader([]byte(own.Body.Reveal())))
	g, ok := mfa.ParseControlGroup([]byte(own.Body.Reveal()))
	if err != nil || !ok || r.config.Group == nil {
		return held, mfa.Verdict{}
	}
	w := r.groupWait(ctx, m, token)
	if v, ok := r.config.Ledger.cooled(w.turn(), w.started); ok {
		return held, v // the person has just said no to one like it
	}
	if r.config.Ledger.tired(w.topic()) {
		return held, mfa.Verdict{Outcome: mfa.Cooldown, Message: appTired}
	}
	w.record(audit.Challenge, 0)
	w.approval = r.config.Ledger.approvals.add(&approval{
		key: w.groupKey(m), With: with, Token: secret.Secret(g.Token), access: g.Accessor, held: own,
		expires: time.Now().Round(0).Add(g.TTL), slot: make(chan struct{}, 1), done: make(chan struct{}),
	})
	defer r.config.Ledger.approvals.leave(w.approval)
	resp, v := w.wait(ctx)
	if !v.OK() || v.Outcome == "" {
		// Its own answer, and not that of the request it waited with.
		return held, v
	}
	return resp, v
}

// sentWith is the token that Vault answered to: under a token or login grant that
// is not the caller's own.
func sentWith(resp *http.Response, own secret.Secret) secret.Secret {
	if resp.Request != nil && resp.Request.Header.Get("X-Vault-Token") != "" {
		return secret.Secret(resp.Request.Header.Get("X-Vault-Token"))
	}
	return own
}

// A groupWait is one request that waits for an approval.
type groupWait struct {
	*stepUp
	*approval
	asks   rule.ControlGroup
	notice *prompt.Notice // what the person was told last
	by     int            // approvals that it told of
}

func (r *Resolver) groupWait(ctx context.Context, m rule.Match, token secret.Secret) *groupWait {
	w := &groupWait{stepUp: r.begin(ctx, m.Request, m.Rule.Name, token), asks: m.Rule.ControlGroup}
	w.deadline = w.started.Add(w.asks.Timeout)
	w.method = prompt.ControlGroup
	w.quiet = m.Rule.Silent
	return w
}

func (w *groupWait) groupKey(m rule.Match) groupKey {
	k := groupKey{Caller: w.stepUp.key, Print: m.Fingerprint}
	k.Caller.Rule = ""
	return k
}

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// wait blocks until the approval is decided, the rule's time is over or the app
// leaves. One request at a time asks Vault; when that one goes, the next does.
func (w *groupWait) wait(app context.Context) (*http.Response, mfa.Verdict) {
	ctx, cancel := context.WithDeadline(app, w.deadline)
	defer cancel()
	select {
	case <-w.done:
	case <-ctx.Done():
	case w.slot <- struct{}{}:
		w.poll(app, ctx)
		<-w.slot
	}
	switch {
	case isDone(w.done) && w.verdict.Outcome == mfa.Approved:
		return w.answer.response(), w.verdict
	case isDone(w.done):
		return w.held.response(), w.verdict
	case app.Err() != nil:
		return w.held.response(), mfa.Verdict{Outcome: mfa.Unavailable, Message: appCanceled}
	}
	w.record(audit.Timeout, time.Since(w.started))
	w.config.Log.Info("not approved yet", "rule", w.rule, "vault", w.config.VaultName, "path", w.request.Path)
	return w.held.response(), mfa.Verdict{Outcome: mfa.Timeout, Message: appNotApproved}
}

// poll asks Vault until the approval is decided or ctx ends.
func (w *groupWait) poll(app, ctx context.Context) {
	defer func() { w.hide(w.lastWords()) }()
	pause := pollFirst
	for !isDone(w.done) && ctx.Err() == nil {
		if w.look(app, ctx) {
			return
		}
		timer := time.NewTimer(pause)
		pause = min(pause*3/2, pollMost)
		select {
		case <-timer.C:
		case <-w.denied():
			v := verdict(context.WithoutCancel(app), w.notice.Err())
			if errors.Is(w.notice.Err(), prompt.ErrDenied) {
				v.Message = appGroupDenied
			}
			w.end(v)
		case <-w.done:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// look asks Vault once and reports whether that decided it.
func (w *groupWait) look(app, ctx context.Context) bool {
	state, err := w.config.Group.ControlGroup(ctx, w.With, w.request.Namespace, w.access)
	status, refused := errors.AsType[*vault.StatusError](err)
	switch {
	case refused && lasting(status.Status):
		w.refused(status)
		return true
	case err != nil:
		w.config.Log.Debug("approval cannot be looked up, asking again", "vault", w.config.VaultName, "error", err)
		return false
	}
	w.config.Ledger.approvals.known(w.approval)
	if !state.Approved {
		w.tell(app, state)
		return false
	}
	if ctx.Err() != nil {
		return false // nobody is there for an answer that comes once
	}
	return w.release(app)
}

// lasting reports whether asking again will give the same answer.
func lasting(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		return true
	}
	return false
}

// refused ends a wait that Vault knows nothing of. Before it ever did, this was
// no control group but an answer that is wrapped for another reason.
func (w *groupWait) refused(status *vault.StatusError) {
	seen := w.config.Ledger.approvals.lost(w.approval)
	switch {
	case status.Status == http.StatusForbidden:
		w.end(mfa.Verdict{Outcome: mfa.Unavailable, Message: mayNotAskApproval(status)})
	case seen:
		w.end(mfa.Verdict{Outcome: mfa.Unavailable, Message: appApprovalGone})
	default:
		w.config.Ledger.approvals.finish(w.approval, mfa.Verdict{}, kept{}, false)
	}
}

// release fetches the answer of the approved request and reports whether that
// decided it. The app may leave meanwhile; the answer, which Vault gives out once,
// is then kept for its next try, so only a lock or the agent's end stops this.
func (w *groupWait) release(app context.Context) bool {
	resp, err := w.config.Group.Release(w.config.Ledger.flyingContext(), vault.Held{
		Caller: w.With, Wrapping: w.Token, Namespace: w.request.Namespace,
	})
	if err != nil {
		w.config.Log.Warn("approved answer cannot be fetched, asking again", "vault", w.config.VaultName, "error", err)
		return false
	}
	answer, err := keep(resp, maxReleased)
	body := []byte(answer.Body.Reveal())
	status := answer.status
	switch {
	case err != nil:
		w.end(mfa.Verdict{Outcome: mfa.Unavailable, Message: vaultFailed(err)})
	case mfa.FurtherApproval(body), status >= http.StatusInternalServerError,
		status == http.StatusPreconditionFailed, status == http.StatusTooManyRequests:
		return false
	case mfa.WrappingGone(body):
		w.config.Ledger.approvals.lost(w.approval)
		w.end(mfa.Verdict{Outcome: mfa.Unavailable, Message: appApprovalGone})
	case status == http.StatusForbidden:
		w.end(mfa.Verdict{Outcome: mfa.Unavailable, Message: notReleased(mfa.Errors(body))})
	default:
		// Vault carries the request out now: whatever else it says is the answer.
		v := w.conclude(context.WithoutCancel(app), mfa.Verdict{Outcome: mfa.Approved})
		w.config.Ledger.approvals.finish(w.approval, v, answer, app.Err() != nil)
	}
	return true
}

// end decides the wait for all that share it.
func (w *groupWait) end(v mfa.Verdict) {
	v = w.conclude(context.Background(), v)
	w.config.Ledger.approvals.finish(w.approval, v, kept{}, false)
}

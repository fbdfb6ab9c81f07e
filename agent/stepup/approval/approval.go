// Package approval waits for the approval of other people, where Vault answers with a control
// group: it tells the person, asks Vault until that has decided, and fetches the answer.
package approval

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/stepup/state"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

const (
	// People take minutes: Vault is asked soon at first, then every ten seconds.
	firstPause   = time.Second
	longestPause = 10 * time.Second
	// noticeAfter keeps the broker from ending the notice before the wait does, which has
	// something better to say.
	noticeAfter = 10 * time.Second
	// maxReleased is more than Vault's own limit of a request, and far more than any answer
	// that people approve.
	maxReleased = 32 << 20
)

// A Vault answers about requests that other people must approve. *vault.Client is one.
type Vault interface {
	// ControlGroup tells how far the approval has come; it uses nothing up.
	ControlGroup(ctx context.Context, token secret.Secret, namespace, accessor string) (mfa.GroupState, error)
	// Release gives out the answer of an approved request, once.
	Release(ctx context.Context, h vault.Held) (*http.Response, error)
}

// A Request is one that waits, or may wait, for an approval.
type Request struct {
	*factor.StepUp
	Vault Vault
	Match rule.Match
	Token secret.Secret // the caller's own

	group    *state.Approval
	notice   *prompt.Notice // what the person was told last
	approved int            // approvals that it told of
}

func (r *Request) prepare() {
	r.Deadline = r.Started.Add(r.Match.Rule.ControlGroup.Timeout)
	r.Method = prompt.ControlGroup
}

func (r *Request) key() state.ApprovalKey {
	k := state.ApprovalKey{Caller: r.Key, Fingerprint: r.Match.Fingerprint}
	k.Caller.Rule = ""
	return k
}

// Resume goes on waiting where an earlier request of this caller, the same to the letter,
// gave up. A verdict without outcome means that there is nothing to wait for; the request is
// sent to Vault.
func (r *Request) Resume(app context.Context) (*http.Response, mfa.Verdict) {
	if r.Match.Fingerprint == "" {
		return nil, mfa.Verdict{}
	}
	r.prepare()
	approvals := &r.Config.State.Approvals
	if r.group = approvals.Find(r.key()); r.group == nil {
		return nil, mfa.Verdict{}
	}
	defer approvals.Leave(r.group)
	// Where Vault is not asked with the caller's own token, or not asked any more, nothing
	// else shows that it has not been revoked since.
	if (r.group.Decided() || r.group.SentWith != r.Token) && r.Dead(app, r.Token) {
		return nil, mfa.Verdict{}
	}
	resp, v := r.wait(app)
	if (!v.OK() || v.Outcome == "") && r.group.Decided() && r.group.Gone {
		return nil, mfa.Verdict{}
	}
	return resp, v
}

// Await waits for the approval of a request that Vault has answered with held, which is in
// memory as a whole. held comes back with every verdict that is not OK, its wrapping token
// unused.
func (r *Request) Await(app context.Context, held *http.Response) (*http.Response, mfa.Verdict) {
	sentWith := r.sentWith(held)
	own, err := state.ReadAnswer(held, mfa.MaxHeldAnswer)
	held.Body = io.NopCloser(bytes.NewReader([]byte(own.Body.Reveal())))
	g, ok := mfa.ParseControlGroup([]byte(own.Body.Reveal()))
	if err != nil || !ok {
		return held, mfa.Verdict{}
	}
	r.prepare()
	if v, ok := r.Cooldown(); ok {
		return held, v // the person has just denied one like it
	}
	if v, ok := r.MutedDenials(); ok {
		return held, v
	}
	r.Challenge()
	approvals := &r.Config.State.Approvals
	r.group = approvals.Add(&state.Approval{
		Key: r.key(), SentWith: sentWith, Wrapping: secret.Secret(g.Token), Accessor: g.Accessor, Held: own,
		Expires: time.Now().Round(0).Add(g.TTL), Poller: make(chan struct{}, 1), Done: make(chan struct{}),
	})
	defer approvals.Leave(r.group)
	resp, v := r.wait(app)
	if !v.OK() || v.Outcome == "" {
		return held, v // its own answer, and not that of the request it waited with
	}
	return resp, v
}

// sentWith is the token that Vault answered to: under a token or login grant that is not the
// caller's own.
func (r *Request) sentWith(resp *http.Response) secret.Secret {
	if resp.Request != nil && resp.Request.Header.Get("X-Vault-Token") != "" {
		return secret.Secret(resp.Request.Header.Get("X-Vault-Token"))
	}
	return r.Token
}

// wait blocks until the approval is decided, the rule's time is over or the app leaves. One
// request at a time asks Vault; when that one leaves, the next does.
func (r *Request) wait(app context.Context) (*http.Response, mfa.Verdict) {
	ctx, cancel := r.UntilDeadline(app)
	defer cancel()
	select {
	case <-r.group.Done:
	case <-ctx.Done():
	case r.group.Poller <- struct{}{}:
		r.poll(app, ctx)
		<-r.group.Poller
	}
	switch {
	case r.group.Decided():
		return r.decided(app)
	case app.Err() != nil:
		r.RecordEnd(app, factor.Canceled())
		return r.group.Held.Response(), factor.Canceled()
	}
	v := factor.Timeout("stepup: nobody has approved this request yet; run it again to go on waiting for the same approval, or unwrap the token of wrap_info when it is there")
	r.RecordEnd(app, v)
	r.Config.Log.Info("not approved yet", "rule", r.Rule, "vault", r.Config.VaultName, "path", r.StepUp.Request.Path)
	return r.group.Held.Response(), v
}

// decided is the answer that one of the requests has got that wait for it.
func (r *Request) decided(app context.Context) (*http.Response, mfa.Verdict) {
	v := r.group.Verdict
	if r.Open {
		r.RecordEnd(app, v)
	}
	if v.Outcome == mfa.Approved {
		return r.group.Answer.Response(), v
	}
	return r.group.Held.Response(), v
}

// poll asks Vault until the approval is decided or ctx ends.
func (r *Request) poll(app, ctx context.Context) {
	defer func() { r.hide(r.lastWords()) }()
	pause := firstPause
	for !r.group.Decided() && ctx.Err() == nil {
		if r.look(app, ctx) {
			return
		}
		timer := time.NewTimer(pause)
		pause = min(pause*3/2, longestPause)
		select {
		case <-timer.C:
		case <-r.denied():
			v := factor.VerdictOf(context.WithoutCancel(app), r.notice.Err())
			if errors.Is(r.notice.Err(), prompt.ErrDenied) {
				v.Message = "stepup: the wait for approval was given up here; unwrap the token of wrap_info when it is there"
			}
			r.finish(v)
		case <-r.group.Done:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// look asks Vault once and reports whether that decided it.
func (r *Request) look(app, ctx context.Context) bool {
	group, err := r.Vault.ControlGroup(ctx, r.group.SentWith, r.StepUp.Request.Namespace, r.group.Accessor)
	status, refused := errors.AsType[*vault.StatusError](err)
	switch {
	case refused && lasting(status.Status):
		r.refused(status)
		return true
	case err != nil:
		r.Config.Log.Debug("approval cannot be looked up, asking again", "vault", r.Config.VaultName, "error", err)
		return false
	}
	r.Config.State.Approvals.MarkKnown(r.group)
	if !group.Approved {
		r.tell(app, group)
		return false
	}
	if ctx.Err() != nil {
		return false // the app has left, and the answer comes once
	}
	return r.release(app)
}

// lasting reports whether asking again will give the same answer.
func lasting(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		return true
	}
	return false
}

// refused ends a wait that Vault knows nothing of. Before it ever did, this was no control
// group but an answer that is wrapped for another reason.
func (r *Request) refused(status *vault.StatusError) {
	known := r.Config.State.Approvals.MarkGone(r.group)
	switch {
	case status.Status == http.StatusForbidden:
		r.finish(factor.Unavailablef("stepup: your token may not ask about the approval: a policy of yours has to grant update on sys/control-group/request (the policy default of OpenBao does not); %v", status))
	case known:
		r.finish(gone())
	default:
		r.Config.State.Approvals.Finish(r.group, mfa.Verdict{})
	}
}

func gone() mfa.Verdict {
	return factor.Unavailable("stepup: vault no longer knows this request for approval: it has expired, or its answer was fetched elsewhere; run it again to make a new one")
}

// release fetches the answer of the approved request and reports whether that decided it. The
// app may leave meanwhile; the answer, which Vault gives out once, is then kept for its next
// try, so only a lock or the agent's end stops this.
func (r *Request) release(app context.Context) bool {
	resp, err := r.Vault.Release(r.Config.State.Acquisitions.Context(), vault.Held{
		Caller: r.group.SentWith, Wrapping: r.group.Wrapping, Namespace: r.StepUp.Request.Namespace,
	})
	if err != nil {
		r.Config.Log.Warn("approved answer cannot be fetched, asking again", "vault", r.Config.VaultName, "error", err)
		return false
	}
	answer, err := state.ReadAnswer(resp, maxReleased)
	body, status := []byte(answer.Body.Reveal()), answer.Status
	switch {
	case err != nil:
		r.finish(factor.Unreached(err))
	case mfa.FurtherApproval(body), status >= http.StatusInternalServerError,
		status == http.StatusPreconditionFailed, status == http.StatusTooManyRequests:
		return false
	case mfa.WrappingGone(body):
		r.Config.State.Approvals.MarkGone(r.group)
		r.finish(gone())
	case status == http.StatusForbidden:
		r.finish(factor.Unavailablef("stepup: it was approved, but vault does not give out the answer: %s; unwrap the token of wrap_info yourself",
			factor.OneLine(strings.Join(mfa.Errors(body), "; "))))
	default:
		// Vault carries the request out now: whatever else it says is the answer.
		v := r.Conclude(context.WithoutCancel(app), factor.Approved())
		r.Config.State.Approvals.Release(r.group, v, answer, app.Err() != nil)
	}
	return true
}

// finish decides the wait for all requests that share it.
func (r *Request) finish(v mfa.Verdict) {
	r.Config.State.Approvals.Finish(r.group, r.Conclude(context.Background(), v))
}

// tell shows the person what the request waits for: at first, and whenever one more person
// has approved. It shows nothing where the rule or the program gets no prompts; the wait
// itself costs no attention.
func (r *Request) tell(app context.Context, group mfa.GroupState) {
	if r.notice != nil && len(group.By) == r.approved {
		return
	}
	if _, muted := r.Muted(); muted {
		return
	}
	if r.notice == nil {
		r.RecordPrompt(prompt.Push)
	}
	r.hide(approvedSoFar(group.By))
	r.approved = len(group.By)
	r.notice = r.Tell(app, prompt.Request{
		Kind: prompt.Push, MethodType: prompt.ControlGroup, Message: r.instructions(group), Deadline: r.Deadline.Add(noticeAfter),
	})
}

// instructions say what the person has to do: find people who may approve. Vault does not
// tell who that is; the configuration may.
func (r *Request) instructions(group mfa.GroupState) string {
	flag, place := inNamespace(r.StepUp.Request.Namespace)
	text := "vault wants the approval of other people: vault write " + flag + "sys/control-group/authorize accessor=" + r.group.Accessor + place
	if approvers := r.Match.Rule.ControlGroup.Approvers; approvers != "" {
		text += "; ask " + factor.OneLine(approvers)
	}
	if len(group.By) > 0 {
		text += "; " + approvedSoFar(group.By)
	}
	return text
}

// inNamespace is for the command of the approvers: a flag, or words behind it. The program
// chooses the namespace, and a person pastes the line into a shell: what could be another
// command there is not repeated.
func inNamespace(namespace string) (flag, place string) {
	other := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./", r)
	}
	switch {
	case namespace == "":
		return "", ""
	case rule.CanBeNamespace(namespace) && !strings.ContainsFunc(namespace, other):
		return "-namespace=" + namespace + " ", ""
	}
	return "", " (in the namespace of the request)"
}

func approvedSoFar(by []string) string {
	return "approved so far by " + factor.OneLine(strings.Join(by, ", "))
}

// hide removes what the person was told from the screen.
func (r *Request) hide(message string) {
	if r.notice != nil {
		r.notice.Done(message)
	}
}

// denied is closed when the person no longer wants to wait.
func (r *Request) denied() <-chan struct{} {
	if r.notice == nil {
		return nil
	}
	return r.notice.Denied()
}

// lastWords say how the wait ended, for the person.
func (r *Request) lastWords() string {
	switch {
	case !r.group.Decided():
		return "not approved yet; the next try goes on waiting"
	case r.group.Verdict.Outcome == mfa.Approved:
		return "approved"
	case r.group.Verdict.Outcome == mfa.Denied:
		return "given up here; the request for approval stays open in vault until it expires"
	}
	return "the request for approval has ended"
}

package prompt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Named is a prompter with its name in logs and status.
type Named struct {
	Name     string
	Prompter Prompter
	// Check returns nil if the prompter could show a question now, as far as can be known
	// without showing one; a nil Check knows nothing. It returns soon after its context ends.
	Check func(context.Context) error
}

// A BrokerConfig says which prompters ask, and for how long.
type BrokerConfig struct {
	Prompters  []Named          // asked at once, one question at a time; may be empty
	Attachable bool             // people may answer over the control socket
	Grace      time.Duration    // how long a question that no prompter can show waits for a person to attach; 0 means 5 s
	Timeout    time.Duration    // how long a question is open at most; 0 means 55 s
	MaxPending int              // more than this many are refused; 0 means 64
	Log        *slog.Logger     // nil means none
	Now        func() time.Time // nil means time.Now
	// OnEnd, if set, is called for every prompt that ends: with its kind, the Event that
	// it ends with, and how long it was open. The caller of Ask gets the end afterwards.
	// OnEnd must neither block nor call the broker.
	OnEnd func(kind Kind, event string, open time.Duration)
}

func (c BrokerConfig) withDefaults() BrokerConfig {
	c.Grace = cmp.Or(c.Grace, 5*time.Second)
	// Vault's own client gives up after 60 s: the app must hear from us first.
	c.Timeout = cmp.Or(c.Timeout, 55*time.Second)
	c.MaxPending = cmp.Or(c.MaxPending, 64)
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// A Broker shows questions on its prompters and takes the first answer. All methods may
// be called at the same time.
type Broker struct {
	shows sync.WaitGroup // every goroutine that the broker started

	mu       sync.Mutex // guards the fields below; never held while a prompter asks
	config   BrokerConfig
	pending  []*entry // undecided, oldest first
	queue    []*entry // those of them that wait for the prompters
	showing  *entry   // the one that the prompters have; it may be decided already
	watchers map[*watcher]struct{}
	attached int
	closed   bool
}

// NewBroker returns a broker that the caller must Close.
func NewBroker(c BrokerConfig) *Broker {
	return &Broker{config: c.withDefaults(), watchers: make(map[*watcher]struct{})}
}

// Reconfigure replaces the configuration. Pending prompts stay with the
// prompters that show them and keep their deadlines.
func (b *Broker) Reconfigure(c BrokerConfig) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.config = c.withDefaults()
}

// Close cancels every prompt, ends every watch and waits until no prompter
// shows anything. The broker refuses questions from then on.
func (b *Broker) Close() {
	b.mu.Lock()
	b.closed = true
	b.cancelAllLocked()
	for w := range b.watchers {
		b.dropLocked(w)
	}
	b.mu.Unlock()
	b.shows.Wait()
}

// Ask puts the question to the person and blocks until it is decided. The
// answer has passed [Check]; for Choose it is one of r.Choices as given.
//
// It fails with ErrDenied, ErrTimeout, ErrUnavailable (no prompter can ask),
// ErrCanceled (by CancelAll or Close), ErrBusy, or ctx.Err(). In the last case the
// question was withdrawn everywhere, with the line of a [Decided] where that is the
// cause of ctx. A question that waited behind others until its time was over wraps
// ErrUnseen. ID and Queued of r are ignored. A Push is not a question; use Tell.
func (b *Broker) Ask(ctx context.Context, r Request) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if r.Kind == Push {
		return "", ErrAnswer
	}
	e, err := b.enqueue(ctx, r)
	if err != nil {
		return "", err
	}
	b.expire(ctx, e)
	b.report(ctx, e)
	timedOut := errors.Is(e.err, ErrTimeout) || errors.Is(e.err, context.DeadlineExceeded)
	if timedOut && !b.seen(e) {
		return "", fmt.Errorf("%w: %w", ErrUnseen, e.err)
	}
	return e.answer, e.err
}

// report tells a caller that asked for it by [ReportPrompter].
func (b *Broker) report(ctx context.Context, e *entry) {
	b.mu.Lock()
	by := e.by
	b.mu.Unlock()
	if report, ok := ctx.Value(reportKey{}).(func(string)); ok && by != "" {
		report(by)
	}
}

type reportKey struct{}

// Attached is the name of the prompter of answers that come over the control socket.
const Attached = "attached"

// ReportPrompter returns a context for [Broker.Ask], which calls report with the name of
// the prompter that got the answer or the denial, before it returns. Without either, report
// is not called.
func ReportPrompter(ctx context.Context, report func(name string)) context.Context {
	return context.WithValue(ctx, reportKey{}, report)
}

// seen reports whether e was in front of a person. A terminal that is attached shows one
// question at a time, as the prompters do.
func (b *Broker) seen(e *entry) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return e.listed || e.shownBefore
}

// expire blocks until e is decided, and decides it when its time is over.
func (b *Broker) expire(ctx context.Context, e *entry) {
	end, from := b.deadline(e), e.created
	timer := time.NewTimer(end.Sub(from))
	defer timer.Stop()
	for !isClosed(e.done) {
		select {
		case <-e.done:
		case <-ctx.Done():
			b.decide(e, withdrawn(ctx))
		case <-timer.C:
			from, end = end, b.deadline(e)
			if !end.After(from) {
				b.decide(e, failed(EventTimeout, ErrTimeout))
			}
			timer.Reset(end.Sub(from)) // it became its turn meanwhile
		}
	}
}

// deadline is when the time of e is over, as far as it is known now.
func (b *Broker) deadline(e *entry) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return e.request.Deadline
}

// withdrawn returns the ending of a prompt whose caller has left: with a line that says
// how the prompt was decided meanwhile, or as no longer needed.
func withdrawn(ctx context.Context) ending {
	var decided Decided
	if errors.As(context.Cause(ctx), &decided) {
		decided.Message = SanitizeText(decided.Message, maxMessage)
		return ending{EventDone, ctx.Err(), decided}
	}
	return ending{EventCanceled, ctx.Err(), ErrNotNeeded}
}

// Tell shows at once, beside any open question, that a push waits on the person's phone.
// It does not block. The notice is withdrawn by Done, by a denial, when ctx ends, or at
// r.Deadline (zero means the broker's Timeout).
func (b *Broker) Tell(ctx context.Context, r Request) *Notice {
	r.Kind = Push
	e, err := b.enqueue(ctx, r)
	if err != nil {
		b.logger().Warn("a push is not shown", "error", err)
		return &Notice{}
	}
	return &Notice{broker: b, entry: e}
}

// A Notice is a push that the person was told of.
type Notice struct {
	broker *Broker // nil when there was no room to show it
	entry  *entry
}

// Denied is closed when the person said no to the push on this side, or when all
// prompts were cancelled. It is never closed when the notice merely ended.
func (n *Notice) Denied() <-chan struct{} {
	if n.entry == nil {
		return nil
	}
	return n.entry.denied
}

// Err returns why Denied was closed: ErrDenied or ErrCanceled. It is nil before.
func (n *Notice) Err() error {
	if n.entry == nil || !isClosed(n.entry.denied) {
		return nil
	}
	return n.entry.err
}

// Done ends the notice with a line that says how the push was decided, and waits
// until it is off every screen. A second call only waits.
func (n *Notice) Done(message string) {
	if n.entry == nil {
		return
	}
	n.broker.decide(n.entry, ending{EventDone, nil, Decided{SanitizeText(message, maxMessage)}})
	<-n.entry.hidden
}

// CancelAll ends every pending prompt with ErrCanceled. It does not wait.
func (b *Broker) CancelAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cancelAllLocked()
}

// CancelRule ends the pending prompts of one rule, as CancelAll does, and returns how many.
func (b *Broker) CancelRule(rule string) (ended int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range slices.Clone(b.pending) {
		// Ending one may have ended others.
		if e.request.Rule == rule && slices.Contains(b.pending, e) {
			b.decideLocked(e, failed(EventCanceled, ErrCanceled))
			ended++
		}
	}
	return ended
}

func (b *Broker) cancelAllLocked() {
	for len(b.pending) > 0 {
		b.decideLocked(b.pending[0], failed(EventCanceled, ErrCanceled))
	}
}

// Pending lists the prompts that are open, oldest first. A question in the list counts
// as noticed: where no prompter can show it now, it waits for its deadline. Use Len where
// only the number is wanted.
func (b *Broker) Pending() []Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]Request, 0, len(b.pending))
	for _, e := range b.pending {
		e.listed = true
		e.markNoticedLocked()
		list = append(list, b.viewLocked(e).withoutSecret())
	}
	return list
}

// Len returns the number of prompts that are open.
func (b *Broker) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.pending)
}

// Prompters lists the names of the configured prompters.
func (b *Broker) Prompters() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := make([]string, 0, len(b.config.Prompters))
	for _, p := range b.config.Prompters {
		names = append(names, p.Name)
	}
	return names
}

// checkLimit is how long prompters may take to say whether they could ask.
const checkLimit = 2 * time.Second

// CannotAsk says of each configured prompter that could show nothing now what is missing, as
// far as that can be known without a question. A requester may have a screen all the same.
// It blocks for two seconds at most.
func (b *Broker) CannotAsk(ctx context.Context) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	b.mu.Lock()
	all := b.config.Prompters
	b.mu.Unlock()
	errs := make([]error, len(all))
	var checking sync.WaitGroup
	for i, p := range all {
		if p.Check != nil {
			checking.Go(func() { errs[i] = p.Check(ctx) })
		}
	}
	checking.Wait()
	missing := make(map[string]string)
	for i, p := range all {
		if errs[i] != nil && ctx.Err() == nil {
			missing[p.Name] = strings.TrimPrefix(errs[i].Error(), ErrUnavailable.Error()+": ")
		}
	}
	return missing
}

// Answer decides a prompt. It fails with ErrUnknown when no such question is
// open (any more), and with ErrAnswer when the answer does not fit, in which case the
// prompt stays open.
func (b *Broker) Answer(id, answer string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.findLocked(id)
	if e == nil {
		return ErrUnknown
	}
	return b.acceptLocked(e, Attached, answer)
}

// Deny says no to a prompt; ErrUnknown when no such question is open.
func (b *Broker) Deny(id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.findLocked(id)
	if e == nil {
		return ErrUnknown
	}
	e.by = Attached
	b.decideLocked(e, failed(EventDenied, ErrDenied))
	return nil
}

// show asks every prompter at once. It returns when each of them has ended, or shows e
// and cannot take an answer.
func (b *Broker) show(ctx context.Context, e *entry) {
	showing, putAside := context.WithCancelCause(ctx)
	b.mu.Lock()
	prompters, r := b.config.Prompters, b.viewLocked(e)
	prompters = e.open(prompters)
	e.putAside, e.asking, e.updates = putAside, len(prompters), nil
	for range prompters {
		e.updates = append(e.updates, make(chan int, 1))
	}
	updates := e.updates
	b.mu.Unlock()
	var asked sync.WaitGroup
	for i, p := range prompters {
		asked.Add(1)
		done := sync.OnceFunc(func() { b.asked(e); asked.Done() })
		e.shown.Go(func() {
			defer done()
			answer, err := askPrompter(WithUpdates(showing, updates[i]), p.Prompter, r, func() {
				b.markNotified(e)
				done()
			})
			withdrawn := showing.Err() != nil && errors.Is(err, showing.Err())
			if ctx.Err() == nil && !withdrawn { // else decided elsewhere; a late answer does not count
				b.answered(e, p.Name, answer, err)
			}
		})
	}
	asked.Wait()
}

// asked notes that one prompter less may bring an answer to e.
func (b *Broker) asked(e *entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.asking--
}

// askPrompter puts r to one prompter. It calls notified when r is on the screen and cannot be
// answered there.
func askPrompter(ctx context.Context, p Prompter, r Request, notified func()) (string, error) {
	if n, ok := p.(Notifier); ok && r.Kind != Push {
		return n.PromptOrNotify(ctx, r, notified)
	}
	return p.Prompt(ctx, r)
}

// answered decides e by what a prompter has returned.
func (b *Broker) answered(e *entry, prompter, answer string, err error) {
	log := b.logger().With("prompter", prompter, "id", e.request.ID)
	switch {
	case err == nil && e.request.Kind == Push:
		// It showed the notice and left; there is nothing to decide.
	case err == nil:
		if err := b.accept(e, prompter, answer); errors.Is(err, ErrAnswer) {
			log.Warn("prompter gave an answer that does not fit")
		}
	case errors.Is(err, ErrDenied):
		b.denied(e, prompter)
	case errors.Is(err, ErrDismissed):
		b.dismissed(e, prompter)
	case errors.Is(err, ErrReopened):
		b.reopen(e)
	case errors.Is(err, ErrUnavailable):
		log.Debug("prompter cannot ask now", "error", err)
		if program, ok := errors.AsType[*ProgramError](err); ok {
			b.programFailed(e, program)
		}
	default:
		log.Warn("prompter failed", "error", err)
	}
}

// denied decides e by the denial that a prompter got.
func (b *Broker) denied(e *entry, by string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !isClosed(e.done) {
		e.by = by
		b.decideLocked(e, failed(EventDenied, ErrDenied))
	}
}

func (b *Broker) logger() *slog.Logger {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.config.Log
}

package agent

import (
	"context"

	"github.com/vault-stepup/stepup/agent/resolve"
	"github.com/vault-stepup/stepup/prompt"
)

// A person is the broker as the control socket sees it. Whoever answers or
// attaches there is somebody who wants to be asked, which ends the silence of
// rules that were denied too often.
type person struct {
	*prompt.Broker
	ledger *resolve.Ledger
}

// Answer implements control.Broker.
func (p person) Answer(id, answer string) error {
	p.ledger.Wake()
	return p.Broker.Answer(id, answer)
}

// Watch implements control.Broker.
func (p person) Watch(ctx context.Context, attach bool) <-chan prompt.Event {
	if attach {
		p.ledger.Wake()
	}
	return p.Broker.Watch(ctx, attach)
}

package terminal

import (
	"time"

	"github.com/vault-stepup/stepup/prompt"
)

// Block is what stands on the screen for a request.
func Block(r prompt.Request, now time.Time) string { return render(r) + question(r, now) }

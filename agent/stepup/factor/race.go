package factor

import (
	"context"
	"net/http"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
)

// Of one held login Vault and OpenBao take one validate at a time: another one meanwhile gets
// "invalid request ID" at once, be its code right or not.
const (
	raceTries = 3
	racePause = 100 * time.Millisecond // doubled each time
)

// ValidateInRace validates, and again where another validate of the same login may have been
// in work. "invalid request ID" comes before Vault looks at any code, so none is used up.
func ValidateInRace(ctx context.Context, validate Call) (*http.Response, error) {
	for try, pause := 0, racePause; ; try, pause = try+1, 2*pause {
		resp, err := validate(ctx)
		if try == raceTries || (Reply{Response: resp, Err: err}).Failure().Kind != mfa.Expired {
			return resp, err
		}
		if !Sleep(ctx, pause) {
			return resp, err
		}
		_ = resp.Body.Close()
	}
}

// Sleep is false where ctx ends first.
func Sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// Lost reports whether Vault did not look at a validate, or may not have.
func Lost(resp *http.Response, err error) bool {
	if resp == nil {
		return err != nil
	}
	kind := (Reply{Response: resp}).Failure().Kind
	return kind == mfa.Expired || kind == mfa.NoLeader || kind == mfa.Unknown && resp.StatusCode >= http.StatusInternalServerError
}

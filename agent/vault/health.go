package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"
)

// Health is what a Vault says of itself.
type Health struct {
	Up          bool // it answered as Vault does, in whatever state
	Version     string
	Initialized bool
	Sealed      bool
	Standby     bool          // a performance standby too
	Skew        time.Duration // Vault's clock less ours, good to a second; codes fail from about 30 s on
}

// Health asks without a token. Every status is an answer, because sys/health
// says "sealed" and "standby" by status; an error means that nobody answered or
// that it is not Vault who did. At most 5 s.
func (c *Client) Health(ctx context.Context) (Health, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	sent := time.Now()
	resp, err := c.send(ctx, c.base, call{method: http.MethodGet, path: "sys/health"})
	if err != nil {
		return Health{}, err
	}
	received := time.Now()
	body, err := c.read(resp)
	if err != nil {
		return Health{}, err
	}
	var h api.HealthResponse
	if err := json.Unmarshal(body, &h); err != nil || h.ServerTimeUTC == 0 {
		return Health{}, fmt.Errorf("vault %q: sys/health answered %d, but not as Vault does", c.name, resp.StatusCode)
	}
	return Health{
		Up:          true,
		Version:     h.Version,
		Initialized: h.Initialized,
		Sealed:      h.Sealed,
		Standby:     h.Standby || h.PerformanceStandby,
		Skew:        skew(h.ServerTimeUTC, sent, received),
	}, nil
}

// skew compares Vault's clock, which it tells in whole seconds cut off, with the
// middle of the exchange on ours.
func skew(server int64, sent, received time.Time) time.Duration {
	ours := sent.Add(received.Sub(sent) / 2).Round(0)
	theirs := time.Unix(server, 0).Add(500 * time.Millisecond)
	return theirs.Sub(ours).Round(time.Second)
}

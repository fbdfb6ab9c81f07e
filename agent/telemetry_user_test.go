//go:build linux

package agent

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// A collector of another user gets the metrics only where the person has said so,
// and from the next connection on when that changes.
func TestMetricsForOtherUsers(t *testing.T) {
	t.Parallel()
	address, err := url.Parse("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := Config{
		Vaults:    []Vault{{Name: "corp", Address: address}},
		Listeners: []Listener{{Network: "unix", Address: filepath.Join(dir, "vault.sock"), Vault: "corp"}},
		Telemetry: Telemetry{Address: "127.0.0.1:0"},
	}
	ready := make(chan struct{})
	a := New(c, Options{RuntimeDir: filepath.Join(dir, "run"), Log: slog.New(slog.DiscardHandler), Ready: func() { close(ready) }})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	at := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(a.Status(t.Context()).Telemetry))
	if out := runStranger(t, "scrape", at); !strings.HasPrefix(out, "403\n{\"errors\":[\"stepup: ") || !strings.Contains(out, "other_users = true") {
		t.Errorf("another user got %q", out)
	}
	c.Telemetry.OtherUsers = true
	if err := a.Reload(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if out := runStranger(t, "scrape", at); !strings.HasPrefix(out, "200\n") || !strings.Contains(out, "stepup_upstream_up") {
		t.Errorf("another user got %q where that is allowed", out)
	}
}

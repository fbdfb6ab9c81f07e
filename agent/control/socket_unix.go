//go:build unix

package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/ownership"
)

// dial connects to an agent of the same user only. Where the runtime folder is in a
// place that all may write to, another user can be first, listen under our name, and
// be handed a fresh passcode by stepup answer.
func dial(ctx context.Context, socket string) (net.Conn, error) {
	if err := checkSocket(socket); err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
		return nil, fmt.Errorf("%w: %w", ErrNoAgent, err)
	}
	if err != nil {
		return nil, err
	}
	// The file may have been swapped since: the user of the listening process counts.
	if err := peer.Identify(conn).SameUser(); err != nil && !errors.Is(err, peer.ErrUnsupported) {
		_ = conn.Close()
		return nil, fmt.Errorf("not connecting to %s, another program could collect your codes: %w", socket, err)
	}
	return conn, nil
}

// checkSocket refuses a socket of another user.
func checkSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrNoAgent, err)
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s is not a socket", path)
	}
	// Root's is not ours either: stepup never runs as root for another user.
	if !ownership.Ours(info) {
		return fmt.Errorf("%s belongs to another user (uid %d): not connecting, it could collect your codes", path, ownership.UID(info))
	}
	return nil
}

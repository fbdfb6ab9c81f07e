package keyring

import (
	"context"
	"errors"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vault-stepup/stepup/cache/secret"
)

// Kernel is the user keyring of the kernel, which needs no desktop: memory that is not
// written to disk and is gone when the computer stops. Every process of the same user can
// read it. It does not hang, so no process of its own asks it.
type Kernel struct{}

var _ Keyring = Kernel{}

const (
	kernelType   = "user"
	kernelPrefix = service + ":"
	// kernelLife is the life of what has no end of its own: the index, and the key by which
	// callers are told apart. It is longer than a token is ever used.
	kernelLife = 25 * time.Hour
	// possessorAll lets processes that reach the keyring do everything, and others, of
	// this user as well, nothing (KEY_POS_ALL).
	possessorAll = 0x3f000000
)

// Get implements [Keyring].
func (Kernel) Get(_ context.Context, name string) (value secret.Secret, err error) {
	err = onThread(func() error {
		id, err := find(name)
		if err != nil {
			return err
		}
		buffer := make([]byte, maxFrame)
		n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, buffer, 0)
		if err != nil {
			return err
		}
		value = secret.Secret(buffer[:min(n, len(buffer))])
		return nil
	})
	return value, err
}

// Set implements [Keyring]. What is not set again is gone after a day.
func (k Kernel) Set(ctx context.Context, name string, value secret.Secret) error {
	return k.SetUntil(ctx, name, value, time.Now().Add(kernelLife))
}

// SetUntil is Set for a value that the kernel forgets by itself.
func (Kernel) SetUntil(_ context.Context, name string, value secret.Secret, end time.Time) error {
	seconds := max(1, int(time.Until(end)/time.Second))
	return onThread(func() error {
		// Made where no other thread looks, it is in the user's keyring only once it has its
		// end and its rights. The link takes the place of an older one.
		id, err := unix.AddKey(kernelType, kernelPrefix+name, []byte(value.Reveal()), unix.KEY_SPEC_THREAD_KEYRING)
		if err != nil {
			return err
		}
		if _, err := unix.KeyctlInt(unix.KEYCTL_SET_TIMEOUT, id, seconds, 0, 0); err != nil {
			return err
		}
		if err := unix.KeyctlSetperm(id, possessorAll); err != nil {
			return err
		}
		_, err = unix.KeyctlInt(unix.KEYCTL_LINK, id, unix.KEY_SPEC_USER_KEYRING, 0, 0)
		return err
	})
}

// Delete implements [Keyring].
func (Kernel) Delete(_ context.Context, name string) error {
	err := onThread(func() error {
		id, err := find(name)
		if err != nil {
			return err
		}
		_, err = unix.KeyctlInt(unix.KEYCTL_UNLINK, id, unix.KEY_SPEC_USER_KEYRING, 0, 0)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// find returns a key of the user's keyring. The link from the keyring of this thread gives
// the right to read it: a service has a session keyring of its own, which does not lead
// to that of the user.
func find(name string) (int, error) {
	return unix.KeyctlSearch(unix.KEY_SPEC_USER_KEYRING, kernelType, kernelPrefix+name, unix.KEY_SPEC_THREAD_KEYRING)
}

// onThread runs f on a thread that ends with it, and its keyring with the thread.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked, which ends the thread
		done <- f()
	}()
	return kernelError(<-done)
}

func kernelError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOKEY), errors.Is(err, unix.EKEYEXPIRED), errors.Is(err, unix.EKEYREVOKED):
		return ErrNotFound
	case errors.Is(err, unix.EDQUOT): // 20,000 bytes for a user
		return ErrTooLarge
	case errors.Is(err, unix.ENOSYS):
		return &Error{Missing, "this kernel has no keyring"}
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES): // what containers do
		return &Error{Missing, "the keyring of the kernel may not be used here"}
	}
	return AsError(err)
}

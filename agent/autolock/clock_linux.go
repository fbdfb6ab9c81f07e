package autolock

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// clockSteps tells when the computer has slept or its time was set: timerfd_create(2) with
// TFD_TIMER_CANCEL_ON_SET, as systemd notices it. It is closed with ctx, or when the kernel no
// longer tells; it is nil where the kernel never does.
func clockSteps(ctx context.Context) <-chan struct{} {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil
	}
	timer := os.NewFile(uintptr(fd), "clock")
	never := unix.ItimerSpec{Value: unix.Timespec{Sec: 1<<31 - 1}} // what 32 bits hold; one more comparison in 2038
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil); err != nil {
		_ = timer.Close()
		return nil
	}
	steps := make(chan struct{}, 1)
	context.AfterFunc(ctx, func() { _ = timer.Close() })
	go func() { // ends with the timer
		defer close(steps)
		for {
			if _, err := timer.Read(make([]byte, 8)); err != nil && !errors.Is(err, unix.ECANCELED) {
				return
			}
			select {
			case steps <- struct{}{}:
			default: // the one before is not yet compared
			}
		}
	}()
	return steps
}

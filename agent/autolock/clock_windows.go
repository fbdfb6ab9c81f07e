package autolock

import (
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// awakeClock returns the unbiased interrupt time, in units of 100 ns. Go's
// monotonic times are the biased one, which goes on during sleep: with them no
// sleep would ever show.
func awakeClock() func() time.Duration {
	query := windows.NewLazySystemDLL("kernel32.dll").NewProc("QueryUnbiasedInterruptTime")
	return func() time.Duration {
		var units uint64
		_, _, _ = query.Call(uintptr(unsafe.Pointer(&units)))
		return time.Duration(units) * 100
	}
}

package prompt

// Announce writes text on the console; "" only tells whether there is one. The
// error wraps ErrUnavailable when there is none.
func Announce(text string) error {
	t, err := OpenTTY()
	if err != nil {
		return err
	}
	defer t.Close()
	_, err = t.Write([]byte(text))
	return err
}

// Foreground reports whether there is a console: what is typed there as a signal
// reaches every process on it.
func Foreground() bool { return Announce("") == nil }

// BorrowTTY opens the console: there are no jobs that could have it for
// themselves.
func BorrowTTY(func(pgrp int) bool) (Tty, error) { return OpenTTY() }

// SameTerminal is false: processes are not asked for their console here.
func SameTerminal(int) bool { return false }

package terminal

// Announce writes text on the console; "" only tells whether there is one. The
// error wraps ErrUnavailable when there is none.
func Announce(text string) error {
	t, err := Open()
	if err != nil {
		return err
	}
	defer t.Close()
	_, err = t.Write([]byte(text))
	return err
}

// Foreground reports whether there is a console: a signal that is typed there
// reaches every process on it.
func Foreground() bool { return Announce("") == nil }

// Borrow opens the console: there are no jobs that could have it for
// themselves.
func Borrow(func(pgrp int) bool) (TTY, error) { return Open() }

// SameTerminal is false: processes are not asked for their console here.
func SameTerminal(int) bool { return false }

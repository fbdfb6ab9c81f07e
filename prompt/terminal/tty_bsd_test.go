//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package terminal_test

import "golang.org/x/sys/unix"

const getTermios = unix.TIOCGETA

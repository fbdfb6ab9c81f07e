//go:build unix

package main

import (
	"errors"
	"io/fs"
	"syscall"
)

// modesTell: a file's mode and owner say who may do what with it.
const modesTell = true

// ownerOf is the user that a file belongs to, -1 when it cannot be told.
func ownerOf(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

func addressTaken(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

func connectionRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

//go:build unix

package control

import (
	"errors"
	"io/fs"
	"syscall"
)

func isSocket(info fs.FileInfo) bool { return info.Mode()&fs.ModeSocket != 0 }

func notListening(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT)
}

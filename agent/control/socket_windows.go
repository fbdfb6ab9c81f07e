package control

import (
	"errors"
	"io/fs"
	"syscall"

	"golang.org/x/sys/windows"
)

// isSocket: Windows has shown unix sockets as irregular files or as sockets.
func isSocket(info fs.FileInfo) bool { return info.Mode()&(fs.ModeSocket|fs.ModeIrregular) != 0 }

func notListening(err error) bool {
	return errors.Is(err, windows.WSAECONNREFUSED) || errors.Is(err, syscall.ERROR_FILE_NOT_FOUND)
}

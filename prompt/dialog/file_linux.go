package dialog

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// memoryFile is an open file with this content that has no name and is on no
// disk. The caller closes it.
func memoryFile(content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("stepup", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "stepup")
	if _, err := f.Write(content); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("writing a file in memory: %w", err)
	}
	return f, nil
}

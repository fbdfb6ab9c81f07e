//go:build !linux

package dialog

import (
	"errors"
	"os"
)

// memoryFile: what would need it has another way on these systems, or shows the
// secret as text.
func memoryFile([]byte) (*os.File, error) {
	return nil, errors.New("no file in memory on this system")
}

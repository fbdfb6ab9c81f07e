//go:build !linux

package dialog

import (
	"errors"
	"os"
)

// memoryFile fails. The dialogs of these systems need no file, or show the secret as
// text.
func memoryFile([]byte) (*os.File, error) {
	return nil, errors.New("no file in memory on this system")
}

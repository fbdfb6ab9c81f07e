//go:build !linux

package peer

import "errors"

func hideProcess() error { return errors.New("programs do not hide on this system") }

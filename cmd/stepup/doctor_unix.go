//go:build unix

package main

import (
	"errors"
	"syscall"
)

func addressTaken(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

func connectionRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

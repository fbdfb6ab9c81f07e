//go:build !linux

package e2e

import "os/exec"

// nice does nothing: elsewhere the tests were not run on a small machine.
func nice(*exec.Cmd) {}

// tie does nothing where the kernel has no such promise.
func tie(*exec.Cmd) {}

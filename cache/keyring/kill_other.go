//go:build !unix

package keyring

import "os/exec"

// killWithChildren leaves cmd as it is: the keyring of Windows is a call, not a
// program, so that killing the process is enough.
func killWithChildren(*exec.Cmd) {}

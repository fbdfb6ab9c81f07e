//go:build unix && !linux

package main

// hideProcess does nothing: programs do not hide on this system.
func hideProcess() {}

//go:build !windows

package config

// programData is of Windows.
func programData() string { return "" }

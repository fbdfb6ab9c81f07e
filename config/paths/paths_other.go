//go:build !windows

package paths

// programData is of Windows.
func programData() string { return "" }

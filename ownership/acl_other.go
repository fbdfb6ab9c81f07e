//go:build unix && !linux

package ownership

// hasAccessList is false: the lists of these systems leave the mode as it is.
func hasAccessList(string) bool { return false }

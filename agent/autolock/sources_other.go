//go:build !linux

package autolock

// systemSources returns none: here only the clock shows sleep.
func systemSources(*Watcher) []source { return nil }

//go:build !linux

package agent

// systemSources has none: here only the clock tells of sleep.
func (l *locker) systemSources() []source { return nil }

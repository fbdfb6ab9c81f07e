//go:build !linux

package autolock

import "context"

// systemSources returns none: here only the clock shows sleep.
func systemSources(*Watcher) []source { return nil }

// clockSteps is nil: only a comparison shows that the clock has jumped.
func clockSteps(context.Context) <-chan struct{} { return nil }

package session

import "context"

// The parsers, for tests of their laws.
func BusSocket(s string) (string, bool)         { return busSocket(s) }
func BusAddress(s string) string                { return busAddress(s) }
func ParseUserEnvironment(s string) []string    { return parseUserEnvironment(s) }
func ParseDisplay(s string) (string, int, bool) { return parseDisplay(s) }

// Within is for looks that never end, which no test of a real file system has.
func Within(ctx context.Context, look func(context.Context) bool) bool { return within(ctx, look) }

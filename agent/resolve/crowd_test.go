//go:build !race

package resolve_test

// crowd is how many requests come at once.
const crowd = 1000

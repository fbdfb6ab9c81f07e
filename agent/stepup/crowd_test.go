//go:build !race

package stepup_test

// crowd is how many requests come at once.
const crowd = 1000

//go:build race

package stepup_test

// crowd is how many requests come at once. The race detector of Go 1.26 knows 255
// goroutines at a time; with more that sleep and wake it now and then ends the
// whole process with "CHECK failed: tsan_rtl.cpp:346".
const crowd = 100

package agent

import "runtime"

// Why step-up tokens were forgotten: what happened, for the log.
const (
	reasonSleep  = "the computer goes to sleep"
	reasonWake   = "the computer woke up"
	reasonJump   = "the clock jumped: the computer slept, or its time was changed"
	reasonScreen = "the screen was locked"
)

// What lock_on cannot notice just now, for the log (once) and the status; what
// it means comes after it.
const (
	wordsNoSystemBus = "lock_on: no answer from the system bus"
	wordsNoLogind    = "lock_on: logind is not on the system bus"
	wordsClockOnly   = "sleep is noticed after waking up, within 30 s"
	wordsSaverOnly   = "screen locks are noticed only if the session bus tells of them"
)

// The same, where they are whole sentences.
const (
	wordsNoDelay      = "lock_on: logind does not let this program delay sleep; step-up tokens may still be there while the computer falls asleep"
	wordsNoSessionBus = "lock_on: no answer from the session bus; screen locks are noticed only if logind is told (`loginctl lock-session`)"
	wordsNoSaver      = "lock_on: no screen saver is on the session bus; screen locks are noticed only if logind is told (`loginctl lock-session`)"
	wordsNoticing     = "lock_on works again"
)

// What logind shows people who ask what delays sleep (`systemd-inhibit --list`).
const (
	wordsWho = "stepup"
	wordsWhy = "forgets step-up tokens before sleep"
)

// Sentences for systems that tell less than Linux. A %s stands for the system.
const (
	wordsLateSleep    = "lock_on \"sleep\": on %s sleep is noticed after waking up, within 30 s; run `stepup lock` before"
	wordsNoScreenLock = "lock_on \"screen_lock\" has no effect on %s: screen locks are not noticed there; run `stepup lock`"
)

// systemName is how people call the system.
func systemName(goos string) string {
	switch goos {
	case "darwin":
		return "macOS"
	case "windows":
		return "Windows"
	}
	return goos
}

// lockerNotes says, for the status, what of on can never work on this system;
// what does not work just now is told by [locker.notes].
func lockerNotes(on []string) []string { return lockerNotesOf(runtime.GOOS, on) }

package listener

// wordsUnknown refuses a connection whose user is unknown.
const wordsUnknown = "cannot tell which user this connection belongs to; keep it open until the answer has come, or use the unix socket"

// Texts of errors that several functions return. A %s stands for the path or address.
const (
	wordsNotLoopback = "%s is not a loopback address: anybody on the network could use your tokens; use 127.0.0.1 or a unix socket"
	wordsNotFolder   = "%s is not a folder (a symbolic link is refused too); use a folder of your own"
	wordsNotOurs     = "%s belongs to another user; use a folder of your own"
	wordsNotSocket   = "%s exists and is not a socket; remove it or choose another path"
	wordsPassedKind  = "the service manager passed a socket (%s) that is no listening stream socket on loopback or in a file; run `stepup service install` again"
)

package control

// The words that people read when the control socket says no: what happened,
// lower case, no full stop. None of them quotes the request: it may be a code.
const (
	wordsBadBody    = `the body must be JSON like {"answer":"123456"}`
	wordsTooLarge   = "the body is larger than 64 KiB"
	wordsBrowser    = "requests from a browser are refused"
	wordsNoRoute    = "no such path on the control socket"
	wordsMethod     = "method not allowed, use %s"
	wordsUnknown    = "no such prompt: it was answered, denied or has timed out"
	wordsInternal   = "the agent could not do it, see its log"
	wordsNoSocket   = "%s is not a socket"
	wordsSquatted   = "%s belongs to another user (uid %d): not connecting, it could collect your codes"
	wordsStranger   = "not connecting to %s, another program could collect your codes"
	wordsBadReply   = "the agent's answer is not JSON"
	wordsBadListen  = `the body must be JSON like {"vault":"corp","network":"tcp"}, or with "unix"`
	wordsBadObtain  = `the body must be JSON with "rule" and "token"`
	wordsBadExplain = `the body must be JSON with "path"`
	wordsTooSoon    = "prompts were resumed less than ten minutes ago, and it counts once in that time; try again in %s"
	wordsNoListener = "no such listener: it has ended"
	wordsBadStream  = "the stream of events broke off"
)

package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/vault-stepup/stepup/cache"
)

// Every word that an app or a person reads from this package. Lower case, no
// full stop; what happened first, then what to do. Nothing that a stranger sent
// is repeated here.

// refusalPrefix starts every text of ours in a Vault-shaped answer.
const refusalPrefix = "stepup: "

// Texts of the guard's refusals. A %s stands for the listener's own address.
const (
	wordsOtherUser      = "this agent serves only the user that started it; run `stepup agent` as your own user"
	wordsUnknown        = "cannot tell which user this connection belongs to; keep it open until the answer has come, or use the unix socket"
	wordsUnsupported    = "this system does not tell who connects to this kind of listener; use the unix socket"
	wordsLoop           = "this request came from the agent itself; set `address` of the vault block to the real Vault, not to one of the agent's listeners"
	wordsTarget         = "this is not a forward proxy; set VAULT_ADDR to the agent instead of a proxy variable"
	wordsHost           = "the Host header is not this listener's; set VAULT_ADDR to http://%s"
	wordsBrowser        = "requests of web pages are refused; use a program that sends no Origin, Referer or Sec-Fetch header"
	wordsOtherCollector = "these metrics are for the user that started the agent; set `other_users = true` in the telemetry block to let collectors of other users read them"
	wordsOnlyMetrics    = "the metrics are at /metrics"
	wordsOnlyGet        = "metrics are only read, by GET"
	wordsTree           = "this listener serves only the command that it was opened for and what that starts; use the agent's own listeners (`stepup status`)"
	wordsHidden         = "this listener serves only the command that it was opened for, and your program hides its process (the kernel does that for a file with capabilities, such as vault's cap_ipc_lock); use `stepup exec --listen private-unix`, where the kernel tells which process it is"
	wordsHeader         = "this listener requires the header X-Vault-Request: true; clients made with Vault's library send it"
)

// Texts of listeners and the runtime folder. A %s stands for the path or address.
const (
	wordsNotLoopback = "%s is not a loopback address: anybody on the network could use your tokens; use 127.0.0.1 or a unix socket"
	wordsNotFolder   = "%s is not a folder (a symbolic link is refused too); use a folder of your own"
	wordsNotOurs     = "%s belongs to another user; use a folder of your own"
	wordsNotSocket   = "%s exists and is not a socket; remove it or choose another path"
	wordsInUse       = "another program answers on %s; stop it or choose another path"
	wordsNetwork     = "unknown kind of listener %q"

	wordsPassedKind  = "the service manager passed a socket (%s) that is no listening stream socket on loopback or in a file; run `stepup service install` again"
	wordsPassedTwice = "the service manager passed two sockets for %s; run `stepup service install` again"
	wordsPassedGone  = "the service manager listens on %s, but the socket is not there any more; run `systemctl --user restart stepup.socket`"
)

// Errors of a running agent.
var (
	errNotRunning  = errors.New("agent is not running")
	errManyPrivate = errors.New("too many private listeners are open")
)

// wordsSameUser is what the status says of a listener that can tell its clients apart.
const wordsSameUser = "same user only"

// noteUnclaimed is a note of the status.
const noteUnclaimed = "the service manager listens on %s, which no listener block names: connections to it are never answered; run `stepup service install` again"

// Notes of stepup lock: what is left to expire, and why.

func noteNotListed(err error) string {
	return fmt.Sprintf("tokens could not be listed: %v", err)
}

func noteStillKept(e cache.Entry, err error) string {
	return fmt.Sprintf("the token of rule %s may still be in the keyring until %s: %v", e.Key.Rule, e.Token.Expires.Format(time.TimeOnly), err)
}

func noteNotRevoked(e cache.Entry, err error) string {
	return fmt.Sprintf("the token of rule %s could not be revoked and lives until about %s: %v", e.Key.Rule, e.Token.Expires.Format(time.TimeOnly), err)
}

package agent

import (
	"net/url"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/prompt"
)

// A Config is what a running agent does; package config reads it from a file and
// cmd carries it over. It has been checked: every name that it refers to is
// there. It is not changed after [New] or [Agent.Reload] got it.
type Config struct {
	File        string // where it came from, for the status
	Changes     string // what is new in it since the one before, in one line; for the status after a reload
	Vaults      []Vault
	Listeners   []Listener
	Methods     map[string]mfa.Method // by the name of the mfa_method block
	Rules       rule.Rules
	LoginMFA    bool         // complete logins that Vault holds
	Mounts      relay.Mounts // whose logins carry their factor themselves
	Prefer      []string     // methods taken from an any list without asking
	SinglePhase stepup.SinglePhase
	Prompt      Prompt
	AuditFile   string // "" means none
	Cache       Cache
	Telemetry   Telemetry
	MaxBodies   int64               // bytes of all bodies kept for repetition; 0 means 64 MiB, less means none
	FromSeed    map[string]bool     // methods whose code is made from a kept seed
	Commands    map[string][]string // programs that print the code of a method
}

// A Vault is one upstream.
type Vault struct {
	Name      string
	Address   *url.URL
	Namespace string // for requests without a namespace of their own
	TLS       vault.TLS
	MaxKept   int64         // bytes of a body kept for repetition; 0 means 1 MiB, less means none
	Timeout   time.Duration // until Vault's response header; 0 means 150 s
}

// A Listener is one address for apps.
type Listener struct {
	Network       string // tcp or unix
	Address       string // loopback host:port, or an absolute path
	Vault         string // name of a Vault
	RequireHeader bool   // refuse requests without X-Vault-Request: true
}

// Telemetry is where Prometheus reads the metrics.
type Telemetry struct {
	Address    string // loopback host:port; "" means none
	OtherUsers bool   // collectors of other users may read them, too
}

// Prompt is how a person is asked.
type Prompt struct {
	Prompters   []prompt.Named // all that can show a prompt do, at once
	Attachable  bool           // attached terminals and `stepup answer` count as prompters
	Timeout     time.Duration  // 0 means 55 s
	Attempts    int            // 0 means 3
	Cooldown    time.Duration  // 0 means 30 s
	MaxPending  int            // 0 means 64
	NeverPrompt factor.NeverPrompt
	// ConfirmPush asks before Vault is made to push.
	ConfirmPush bool
}

// Cache is where step-up tokens are kept and when they are forgotten.
type Cache struct {
	Keyring bool          // keep them in the keyring, too, so that they survive a restart
	MaxTTL  time.Duration // a token is never used longer; 0 means 15 m
	LockOn  []string      // sleep, screen_lock
}

// maxBodies is the limit of all kept bodies.
func (c Config) maxBodies() int64 {
	if c.MaxBodies == 0 {
		return 64 << 20
	}
	return max(c.MaxBodies, 0)
}

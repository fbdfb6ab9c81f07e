// Package config reads stepup's configuration: HCL 2, decoded into plain
// structs, checked as a whole, and answered with diagnostics that show the line.
//
// The grammar is a small part of HCL on purpose: text, numbers, true and false,
// lists, and ${env.NAME}, ${home}, ${runtime_dir} and ${state_dir} inside text.
// There are no functions, conditions or loops, so that what a file means can be
// read off it. Nothing here prints or exits.
package config

import (
	"log/slog"
	"net/url"
	"time"

	"github.com/vault-stepup/stepup/agent/rule"
)

// A Config is a whole file, with every default filled in. It is not changed
// after [Load] and may be shared.
type Config struct {
	Vaults    []Vault    // at least one, in file order
	Listeners []Listener // at least one, in file order
	Methods   []Method
	Rules     rule.Rules // in file order: the first that matches wins
	LoginMFA  LoginMFA
	Prompt    Prompt
	Cache     Cache
	Relay     Relay
	Audit     Audit
	Telemetry Telemetry
	Log       Log
}

// Vault returns the vault block of that name.
func (c *Config) Vault(name string) (Vault, bool) {
	for _, v := range c.Vaults {
		if v.Name == name {
			return v, true
		}
	}
	return Vault{}, false
}

// Method returns the mfa_method block of that name.
func (c *Config) Method(name string) (Method, bool) {
	for _, m := range c.Methods {
		if m.Name == name {
			return m, true
		}
	}
	return Method{}, false
}

// A Vault is an upstream server.
type Vault struct {
	Name string
	// Address is http or https with a host and neither path nor user, or
	// unix with nothing but an absolute path.
	Address       *url.URL
	Namespace     string        // for requests without X-Vault-Namespace; "" is root
	CACert        string        // PEM file; "" with CAPath "" means the system's authorities
	CAPath        string        // folder of PEM files; CACert wins over it
	ClientCert    string        // PEM file; set exactly when ClientKey is
	ClientKey     string        // PEM file
	TLSServerName string        // "" means the host of Address
	TLSSkipVerify bool          // true accepts every certificate
	MaxBody       int64         // bytes of a body that are kept to send it again; 0 keeps none
	Timeout       time.Duration // until the response header; never 0, and PushTimeout at least where a method pushes
}

// The networks of a Listener.
const (
	TCP  = "tcp"
	Unix = "unix"
)

// A Listener is an address that apps connect to.
type Listener struct {
	Network       string // TCP or Unix
	Address       string // loopback IP:port (port 0: any free one), or a clean absolute path of at most 104 bytes
	Vault         string // name of a Vault; never ""
	RequireHeader bool   // refuse requests without X-Vault-Request
}

// A Method is an mfa_method block: what we know about a second factor of Vault.
type Method struct {
	Name            string   // name or ID in Vault; goes into X-Vault-MFA, so it has no colon or blank
	Type            string   // totp, duo, okta or pingid
	Digits          int      // length of a passcode; 0 means any
	Passcode        bool     // of duo: a passcode may be typed instead of the push
	PasscodeCommand []string // program and arguments; nil asks the person
	PasscodeSource  string   // "keyring", or "" asks the person
}

// LoginMFA is about logins that pass through the agent.
type LoginMFA struct {
	Enabled            bool
	Prefer             []string // names or IDs of methods, first choice first; nil asks the person
	SinglePhase        bool     // the factors go with the login itself
	SinglePhaseMethods []string // names of Methods; set exactly when SinglePhase is
	SinglePhaseMounts  []string // "auth/userpass"; no slash at the ends; nil means every auth method
	LegacyMounts       []string // "auth/ldap"; no slash at the ends
	OktaMounts         []string // "auth/okta"; no slash at the ends
}

// The prompters of Prompt.Use.
const (
	UseAttached = "attached"
	UseDesktop  = "desktop"
	UseTerminal = "terminal"
	UseCommand  = "command"
)

// Prompt says how a person is asked.
type Prompt struct {
	Use         []string // at least one, each once
	Command     []string // program and arguments; set when Use has UseCommand
	Timeout     time.Duration
	Attempts    int           // at least 1
	Cooldown    time.Duration // after a denial, timeout or rejection; never 0
	ConfirmPush bool
	MaxPending  int      // prompts that may wait at once
	Never       []string // programs for which nobody is asked; "*" at the end of a name stands for any rest
	Detached    string   // Ask or Never: for programs without a terminal or graphical session
}

// Words of Prompt.Detached and of prompt in a step_up block.
const (
	Ask   = "ask"
	Never = "never"
)

// Words of Cache.
const (
	StoreKeyring   = "keyring"
	StoreMemory    = "memory"
	LockSleep      = "sleep"
	LockScreenLock = "screen_lock"
)

// Cache says how long step-up tokens live and where.
type Cache struct {
	Store  string        // StoreKeyring or StoreMemory
	MaxTTL time.Duration // never 0
	LockOn []string      // empty never locks by itself
}

// Relay is about the requests of all vaults.
type Relay struct {
	MaxKeptBodies int64 // bytes of all request bodies that are kept at once
}

// Audit is the audit log.
type Audit struct {
	File string // absolute path; "" means off
}

// Telemetry is the Prometheus endpoint.
type Telemetry struct {
	Address    string // loopback IP:port; "" means off
	OtherUsers bool   // serve collectors of other users, too
}

// The formats of Log.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// Log is about the agent's own log on standard error.
type Log struct {
	Level  slog.Level
	Format string // FormatText or FormatJSON
}

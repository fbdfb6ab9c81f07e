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
	"slices"
	"time"

	"github.com/vault-stepup/stepup/agent/rule"
)

// A Config is a whole file, with every default filled in. It is not changed
// after [Load] and may be shared. The tags are the grammar; see grammar.go.
type Config struct {
	Vaults    []Vault    `hcl:"vault,block"`    // at least one, in file order
	Listeners []Listener `hcl:"listener,block"` // at least one, in file order
	Methods   []Method   `hcl:"mfa_method,block"`
	Rules     rule.Rules `hcl:"step_up,block"` // in file order: the first that matches wins
	LoginMFA  LoginMFA   `hcl:"login_mfa,block"`
	Prompt    Prompt     `hcl:"prompt,block"`
	Cache     Cache      `hcl:"cache,block"`
	Relay     Relay      `hcl:"relay,block"`
	Audit     Audit      `hcl:"audit,block"`
	Telemetry Telemetry  `hcl:"telemetry,block"`
	Log       Log        `hcl:"log,block"`
}

// Vault returns the vault block of that name.
func (c *Config) Vault(name string) (Vault, bool) {
	i := slices.IndexFunc(c.Vaults, func(v Vault) bool { return v.Name == name })
	if i < 0 {
		return Vault{}, false
	}
	return c.Vaults[i], true
}

// A Vault is an upstream server.
type Vault struct {
	Name string `hcl:"name,label" label:"a name"`
	// Address is http or https with a host and neither path nor user, or
	// unix with nothing but an absolute path.
	Address       *url.URL      `hcl:"address"`
	Namespace     string        `hcl:"namespace,optional" form:"namespace"` // for requests without X-Vault-Namespace; "" is root
	CACert        string        `hcl:"ca_cert,optional" form:"path"`        // PEM file; "" with CAPath "" means the system's authorities
	CAPath        string        `hcl:"ca_path,optional" form:"path"`        // folder of PEM files; CACert wins over it
	ClientCert    string        `hcl:"client_cert,optional" form:"path"`    // PEM file; set exactly when ClientKey is
	ClientKey     string        `hcl:"client_key,optional" form:"path"`     // PEM file
	TLSServerName string        `hcl:"tls_server_name,optional"`            // "" means the host of Address
	TLSSkipVerify bool          `hcl:"tls_skip_verify,optional"`            // true accepts every certificate
	MaxBody       int64         `hcl:"max_kept_body,optional" max:"64MiB"`  // bytes of a body that are kept to send it again; 0 keeps none
	Timeout       time.Duration `hcl:"timeout,optional" max:"15m"`          // until the response header; never 0, and PushTimeout at least where a method pushes
}

// The networks of a Listener.
const (
	TCP  = "tcp"
	Unix = "unix"
)

// A Listener is an address that apps connect to.
type Listener struct {
	Network       string `hcl:"network,label" label:"\"tcp\" or \"unix\""`
	Address       string `hcl:"address"`                         // loopback IP:port (port 0: any free one), or a clean absolute path of at most 104 bytes
	Vault         string `hcl:"vault,optional" names:"vault"`    // name of a Vault; never ""
	RequireHeader bool   `hcl:"require_request_header,optional"` // refuse requests without X-Vault-Request
}

// A Method is an mfa_method block: what we know about a second factor of Vault.
type Method struct {
	Name            string   `hcl:"name,label" label:"the name or ID of the method in Vault"` // goes into X-Vault-MFA, so it has no colon or blank
	Type            string   `hcl:"type" words:"totp duo okta pingid"`
	Digits          int      `hcl:"digits,optional" min:"4" max:"10"`         // length of a passcode; 0 means any
	Passcode        bool     `hcl:"passcode,optional"`                        // of duo: a passcode may be typed instead of the push
	PasscodeCommand []string `hcl:"passcode_command,optional" form:"program"` // nil asks the person
	PasscodeSource  string   `hcl:"passcode_source,optional" words:"keyring"` // "" asks the person
}

// LoginMFA is about logins that pass through the agent. Its mounts are like
// "auth/ldap", without a slash at the ends.
type LoginMFA struct {
	Enabled            bool     `hcl:"enabled,optional"`
	Prefer             []string `hcl:"prefer,optional"` // names or IDs of methods, declared or not, first choice first; nil asks the person
	LegacyMounts       []string `hcl:"legacy_mounts,optional" form:"mount"`
	OktaMounts         []string `hcl:"okta_mounts,optional" form:"mount"`
	SinglePhase        bool     `hcl:"single_phase,optional"`                            // the factors go with the login itself
	SinglePhaseMethods []string `hcl:"single_phase_methods,optional" names:"mfa_method"` // set exactly when SinglePhase is
	SinglePhaseMounts  []string `hcl:"single_phase_mounts,optional" form:"mount"`        // nil means every auth method
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
	Use         []string      `hcl:"use,optional" words:"attached desktop terminal command" min:"1"` // each once
	Command     []string      `hcl:"command,optional" form:"program"`                                // set when Use has UseCommand
	Timeout     time.Duration `hcl:"timeout,optional" max:"5m"`
	Attempts    int           `hcl:"attempts,optional" min:"1" max:"20"`
	Cooldown    time.Duration `hcl:"cooldown,optional" max:"1h"` // after a denial, timeout or rejection; never 0
	ConfirmPush bool          `hcl:"confirm_push,optional"`
	MaxPending  int           `hcl:"max_pending,optional" min:"1" max:"1000"` // prompts that may wait at once
	Never       []string      `hcl:"never,optional" min:"1"`                  // programs that get no prompts; "*" at the end of a name stands for any rest
	Detached    string        `hcl:"detached,optional" words:"ask never"`     // for programs without a terminal or graphical session
}

// Words of Prompt.Detached.
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
	Store  string        `hcl:"store,optional" words:"keyring memory"`
	MaxTTL time.Duration `hcl:"max_ttl,optional" max:"24h"`                 // never 0
	LockOn []string      `hcl:"lock_on,optional" words:"sleep screen_lock"` // empty never locks by itself
}

// Relay is about the requests of all vaults.
type Relay struct {
	MaxKeptBodies int64 `hcl:"max_kept_bodies,optional" max:"1GiB"` // bytes of all request bodies that are kept at once
}

// Audit is the audit log.
type Audit struct {
	File string `hcl:"file" form:"path"` // "" means off
}

// Telemetry is the Prometheus endpoint.
type Telemetry struct {
	Address    string `hcl:"address"`              // loopback IP:port; "" means off
	OtherUsers bool   `hcl:"other_users,optional"` // serve collectors of other users, too
}

// The formats of Log.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// Log is about the agent's own log on standard error.
type Log struct {
	Level  slog.Level `hcl:"level,optional" words:"debug info warn error"`
	Format string     `hcl:"format,optional" words:"text json"`
}

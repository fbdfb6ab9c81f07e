package agent

import (
	"log/slog"
	"net/url"
	"slices"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/notice"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/prompt"
)

// A Config is what a running agent does: a whole file as package config reads it, with
// every default filled in and every name that it refers to there. It is not changed after
// [New] or [Agent.Reload] got it. The tags are the grammar, which package config explains.
type Config struct {
	Vaults    []Vault      `hcl:"vault,block"`    // at least one, in file order
	Listeners []Listener   `hcl:"listener,block"` // at least one, in file order
	Methods   []Method     `hcl:"mfa_method,block"`
	Rules     rule.Rules   `hcl:"step_up,block"` // in file order: the first that matches wins
	LoginMFA  LoginMFA     `hcl:"login_mfa,block"`
	Prompt    Prompt       `hcl:"prompt,block"`
	Cache     Cache        `hcl:"cache,block"`
	Relay     Relay        `hcl:"relay,block"`
	Audit     audit.Config `hcl:"audit,block"`
	Telemetry Telemetry    `hcl:"telemetry,block"`
	Log       Log          `hcl:"log,block"`

	File    string   // where it came from: the user's own file if there is one
	Files   []string // all of them, in the order in which they were read
	Changes string   // what is new in it since the one before, in one line; for the status after a reload
}

// Vault returns the vault of that name; "" is the only one.
func (c Config) Vault(name string) (Vault, bool) {
	if name == "" && len(c.Vaults) == 1 {
		return c.Vaults[0], true
	}
	i := slices.IndexFunc(c.Vaults, func(v Vault) bool { return v.Name == name })
	if i < 0 {
		return Vault{}, false
	}
	return c.Vaults[i], true
}

// A Vault is an upstream server.
type Vault struct {
	Name string `hcl:"name,label" label:"a name"`
	// Address is http or https with a host, perhaps a clean path without a slash at its end,
	// and no user; or unix with nothing but an absolute path.
	Address   *url.URL `hcl:"address"`
	Namespace string   `hcl:"namespace,optional" form:"namespace"` // for requests without X-Vault-Namespace; "" is root
	vault.TLS
	MaxBody int64         `hcl:"max_kept_body,optional" max:"64MiB"` // bytes of a body that are kept to send it again; 0 keeps none
	Timeout time.Duration `hcl:"timeout,optional" max:"15m"`         // until the response header; 0 means 150 s
	// IdleTimeout is how long an unused connection is kept; 0 means vault.DefaultIdleTimeout.
	IdleTimeout time.Duration `hcl:"idle_timeout,optional" max:"15m"`
}

// A Listener is an address that apps connect to.
type Listener struct {
	Network string `hcl:"network,label" label:"\"tcp\" or \"unix\""`
	// Address is a loopback IP:port (port 0: any free one), or a clean absolute path of at
	// most 104 bytes.
	Address       string `hcl:"address"`
	Vault         string `hcl:"vault,optional" names:"vault"`    // name of a Vault; never ""
	RequireHeader bool   `hcl:"require_request_header,optional"` // refuse requests without X-Vault-Request: true
}

// A Method is an mfa_method block: what we know about a second factor of Vault.
type Method struct {
	// Name goes into X-Vault-MFA, so it has no colon or blank.
	Name            string   `hcl:"name,label" label:"the name or ID of the method in Vault"`
	Type            string   `hcl:"type" words:"totp duo okta pingid"`
	Digits          int      `hcl:"digits,optional" min:"4" max:"10"`         // length of a passcode; 0 means any
	Passcode        bool     `hcl:"passcode,optional"`                        // of duo: a passcode may be typed instead of the push
	PasscodeCommand []string `hcl:"passcode_command,optional" form:"program"` // nil asks the person
	PasscodeSource  string   `hcl:"passcode_source,optional" words:"keyring"` // "" asks the person
}

// Pushes reports whether Vault may push. Of the types that it knows, only totp always
// takes a code (vault/login_mfa.go); Duo pushes where it gets no passcode.
func (m Method) Pushes() bool { return m.Type != "totp" }

// methods are the declared methods by their names.
func (c Config) methods() map[string]mfa.Method {
	all := make(map[string]mfa.Method)
	for _, m := range c.Methods {
		all[m.Name] = mfa.Method{
			Type: m.Type, Name: m.Name, Digits: m.Digits, UsesPasscode: !m.Pushes() || m.Passcode, OrPush: m.Passcode,
		}
	}
	return all
}

// LoginMFA is about logins that pass through the agent. Its mounts are like
// "auth/ldap", without a slash at the ends.
type LoginMFA struct {
	Enabled bool `hcl:"enabled,optional"`
	// Prefer are names or IDs of methods, declared or not, first choice first; nil asks the
	// person.
	Prefer             []string `hcl:"prefer,optional"`
	LegacyMounts       []string `hcl:"legacy_mounts,optional" form:"mount"`
	OktaMounts         []string `hcl:"okta_mounts,optional" form:"mount"`
	SinglePhase        bool     `hcl:"single_phase,optional"`                            // the factors go with the login itself
	SinglePhaseMethods []string `hcl:"single_phase_methods,optional" names:"mfa_method"` // set exactly when SinglePhase is
	SinglePhaseMounts  []string `hcl:"single_phase_mounts,optional" form:"mount"`        // nil means every auth method
}

// mounts are those whose logins carry their factor themselves.
func (l LoginMFA) mounts() relay.Mounts {
	if !l.Enabled {
		return relay.Mounts{}
	}
	return relay.Mounts{Okta: l.OktaMounts, Legacy: l.LegacyMounts}
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
	Pinentry    string        `hcl:"pinentry,optional" form:"program"`                               // asked before the other windows of UseDesktop; "" for none
	Timeout     time.Duration `hcl:"timeout,optional" max:"5m" strict:"less"`                        // 0 means 55 s
	Attempts    int           `hcl:"attempts,optional" min:"1" max:"20" strict:"less"`               // 0 means 3
	Cooldown    time.Duration `hcl:"cooldown,optional" max:"1h" strict:"more"`                       // after a denial, timeout or rejection; 0 means 30 s
	ConfirmPush bool          `hcl:"confirm_push,optional" strict:"more"`                            // ask before Vault is made to push
	MaxPending  int           `hcl:"max_pending,optional" min:"1" max:"1000" strict:"less"`          // prompts that may wait at once; 0 means 64
	// Never are programs that get no prompts; "*" at the end of a name stands for any rest.
	Never    []string    `hcl:"never,optional" min:"1" strict:"more"`
	Detached string      `hcl:"detached,optional" words:"ask never"`                    // for programs without a terminal or graphical session
	Notify   notice.Mode `hcl:"notify,optional" words:"never first each" strict:"more"` // which uses of a step-up token the person is told of

	// Prompters all show each prompt at once. The caller makes them of Use.
	Prompters []prompt.Named
}

// never is for the requesters that must cause no prompt.
func (p Prompt) never() factor.NeverPrompt {
	n := factor.NeverPrompt{Detached: p.Detached == "never"}
	if len(p.Never) > 0 {
		n.Match = factor.MatchNames(p.Never)
	}
	return n
}

// The stores of Cache.
const (
	StoreKeyring = "keyring" // in memory and in the keyring, so that tokens survive a restart
	StoreKernel  = "kernel"  // the same with the keyring of the kernel, which needs no desktop
	StoreMemory  = "memory"
)

// Cache says how long step-up tokens live and where.
type Cache struct {
	Store  string        `hcl:"store,optional" words:"keyring kernel memory"`
	MaxTTL time.Duration `hcl:"max_ttl,optional" max:"24h" strict:"less"`                 // a token is never used longer; 0 means 15 m
	LockOn []string      `hcl:"lock_on,optional" words:"sleep screen_lock" strict:"more"` // empty never locks by itself
}

// Relay is about the requests of all vaults.
type Relay struct {
	// MaxKeptBodies are bytes of all request bodies that are kept at once; 0 keeps none.
	MaxKeptBodies int64 `hcl:"max_kept_bodies,optional" max:"1GiB"`
	// Express lets package express relay what has nothing to do with a second factor.
	Express bool `hcl:"express,optional"`
}

// Telemetry is where the metrics can be read.
type Telemetry struct {
	Address    string `hcl:"address,optional"`                   // loopback IP:port for Prometheus; "" means none
	OtherUsers bool   `hcl:"other_users,optional" strict:"less"` // collectors of other users may read them there, too
	TextFile   string `hcl:"textfile,optional" form:"path"`      // for node_exporter; "" means none
}

// Log is about the agent's own log.
type Log struct {
	Level  slog.Level `hcl:"level,optional" words:"debug info warn error"`
	Format string     `hcl:"format,optional" words:"text json"`
}

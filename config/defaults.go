package config

import (
	"log/slog"
	"time"
)

// defaults is what a file without the block in question means. Lists of blocks
// have none.
func defaults() Config {
	return Config{
		LoginMFA: LoginMFA{Enabled: true},
		Prompt: Prompt{
			Use: []string{UseAttached, UseDesktop, UseTerminal},
			// Vault's API client gives up after 60 s and asks again: an answer
			// after that would be one to a question nobody waits for.
			Timeout:    55 * time.Second,
			Attempts:   3,
			Cooldown:   30 * time.Second,
			MaxPending: 64,
			Detached:   Ask,
		},
		Relay: Relay{MaxKeptBodies: 64 << 20},
		Cache: Cache{Store: StoreKeyring, MaxTTL: 15 * time.Minute, LockOn: []string{LockSleep}},
		Log:   Log{Level: slog.LevelInfo, Format: FormatText},
	}
}

// defaultVault outlasts the 90 s for which an Okta push blocks inside Vault.
func defaultVault() Vault { return Vault{MaxBody: 1 << 20, Timeout: PushTimeout} }

// defaultApproval ends before Vault's API client gives up: the program then gets
// Vault's own answer, and the next one like it goes on waiting.
const defaultApproval = 55 * time.Second

func defaultMethod() Method { return Method{Digits: 6} }

// Upper bounds: beyond them a value is a slip of the pen, and a late surprise.
const (
	maxFile       = 256 << 10
	maxUpstream   = 15 * time.Minute
	maxPrompt     = 5 * time.Minute
	maxCooldown   = time.Hour
	maxTokenTTL   = 24 * time.Hour
	maxApproval   = 24 * time.Hour
	maxApprovers  = 100 // bytes of a text that is shown in a notification
	maxKeptBody   = 64 << 20
	maxKeptBodies = 1 << 30
	maxPemFile    = 4 << 20
	maxUnixPath   = 104 // sun_path of macOS; Linux has 108
	maxAttempts   = 20
	maxMaxPending = 1000
	maxNumUses    = 1_000_000
	minDigits     = 4
	maxDigits     = 10
	maxNesting    = 32
	maxOddities   = 1000
	maxResolve    = 2 * time.Second
)

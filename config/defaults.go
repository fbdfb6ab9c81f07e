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
			// after that would come too late.
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

// defaultApproval ends before Vault's API client gives up: the program then gets
// Vault's own answer, and the next one like it goes on waiting.
const defaultApproval = 55 * time.Second

// Limits of what is read; those of arguments are in their tags: beyond them a value is a
// slip of the pen, and a late surprise.
const (
	maxFile     = 256 << 10
	maxPemFile  = 4 << 20
	maxUnixPath = 104 // sun_path of macOS; Linux has 108
	maxNesting  = 32
	maxOddities = 1000
	maxResolve  = 2 * time.Second
)

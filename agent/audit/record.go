// Package audit keeps the audit log: which step-up was asked for by whom, and
// how it ended. One JSON object a line, appended, rotated by size, readable by
// the owner alone. No token, passcode or password is part of it.
package audit

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vault-stepup/stepup/agent/peer"
)

// An Event says what happened.
type Event string

// The events of the log.
const (
	Challenge Event = "challenge" // Vault wanted a second factor
	Prompt    Event = "prompt"    // the person was asked
	Approved  Event = "approved"  // Vault took the answer
	Denied    Event = "denied"    // the person, or Vault after a push, said no
	Timeout   Event = "timeout"   // nobody answered in time
	Rejected  Event = "rejected"  // Vault did not take the codes
	Cached    Event = "cached"    // a token that was there served the request
	Revoked   Event = "revoked"   // a token was revoked at Vault
	Locked    Event = "locked"    // every token was forgotten
	Resumed   Event = "resumed"   // muted rules may prompt again
	Refused   Event = "refused"   // the guard let a request not in
	Enrolled  Event = "enrolled"  // the person set up an authenticator, and Vault took its first code
)

// valid reports whether e is an event of the log.
func (e Event) valid() bool {
	switch e {
	case Challenge, Prompt, Approved, Denied, Timeout, Rejected, Cached, Revoked, Locked, Resumed, Refused, Enrolled:
		return true
	default:
		return false
	}
}

// A Record is one line of the log. Fields that do not apply stay empty.
type Record struct {
	Time       time.Time // zero means now; kept to the millisecond
	Event      Event
	Rule       string
	Vault      string
	Namespace  string
	Path       string // without /v1/
	Operation  string // Vault's capability word
	Method     string // the MFA method
	Requester  peer.Peer
	DurationMS int64  // how long it took, in milliseconds
	Token      string // HMAC of the token, in hexadecimal; anything else is not written
}

// Limits of a line, so that a stranger's path or process name cannot fill the
// disk; one record is at most about 100 KiB.
const (
	maxField = 1024 // bytes of a string
	maxChain = 32   // parents of a requester
)

// line is a Record as it is written. The names are the contract's.
type line struct {
	Time       string    `json:"time"`
	Event      Event     `json:"event"`
	Rule       string    `json:"rule"`
	Vault      string    `json:"vault"`
	Namespace  string    `json:"namespace"`
	Path       string    `json:"path"`
	Operation  string    `json:"operation"`
	Method     string    `json:"method"`
	Requester  requester `json:"requester"`
	DurationMS int64     `json:"duration_ms"`
	Token      string    `json:"token"`
}

type requester struct {
	PID   int      `json:"pid"`
	UID   int      `json:"uid"`
	Exe   string   `json:"exe"`
	Chain []string `json:"chain"`
	// Of a program that hides itself only. A guess stays marked as one by its name.
	Hidden bool             `json:"hidden,omitempty"`
	MayBe  []peer.Candidate `json:"may_be,omitempty"`
}

const timeFormat = "2006-01-02T15:04:05.000Z07:00" // RFC 3339 with milliseconds

// encode returns the line of r with its newline.
func (r Record) encode() ([]byte, error) {
	if !r.Event.valid() {
		return nil, fmt.Errorf("audit: unknown event %q", r.Event)
	}
	if y := r.Time.UTC().Year(); y < 0 || y > 9999 {
		return nil, fmt.Errorf("audit: year %d cannot be written", y)
	}
	l := line{
		Time: r.Time.UTC().Format(timeFormat), Event: r.Event,
		Rule: bound(r.Rule), Vault: bound(r.Vault), Namespace: bound(r.Namespace), Path: bound(r.Path),
		Operation: bound(r.Operation), Method: bound(r.Method),
		Requester:  newRequester(r.Requester),
		DurationMS: r.DurationMS,
		Token:      onlyHMAC(r.Token),
	}
	raw, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return append(printable(raw), '\n'), nil
}

func newRequester(p peer.Peer) requester {
	r := requester{PID: p.PID, UID: p.UID, Exe: bound(p.Exe), Chain: []string{}, Hidden: p.Hidden}
	for _, name := range p.Chain[:min(len(p.Chain), maxChain)] {
		r.Chain = append(r.Chain, bound(name))
	}
	for _, c := range p.MayBe[:min(len(p.MayBe), maxChain)] {
		r.MayBe = append(r.MayBe, peer.Candidate{PID: c.PID, Name: bound(c.Name)})
	}
	return r
}

// decode is the reverse of encode.
func decode(raw []byte) (Record, error) {
	var l line
	if err := json.Unmarshal(raw, &l); err != nil {
		return Record{}, fmt.Errorf("audit: %w", err)
	}
	when, err := time.Parse(time.RFC3339, l.Time)
	if err != nil {
		return Record{}, fmt.Errorf("audit: %w", err)
	}
	if !l.Event.valid() {
		return Record{}, fmt.Errorf("audit: unknown event %q", l.Event)
	}
	r := Record{
		Time: when.UTC(), Event: l.Event,
		Rule: l.Rule, Vault: l.Vault, Namespace: l.Namespace, Path: l.Path,
		Operation: l.Operation, Method: l.Method,
		Requester: peer.Peer{
			PID: l.Requester.PID, UID: l.Requester.UID, Exe: l.Requester.Exe,
			Hidden: l.Requester.Hidden, MayBe: l.Requester.MayBe,
		},
		DurationMS: l.DurationMS,
		Token:      l.Token,
	}
	if len(l.Requester.Chain) > 0 {
		r.Requester.Chain = l.Requester.Chain
	}
	return r, nil
}

// bound cuts s to maxField bytes, at the end of a character.
func bound(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= maxField {
		return s
	}
	const mark = "…"
	cut := maxField - len(mark)
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + mark
}

// onlyHMAC is the last door before a token that was passed by mistake would be
// on disk: Vault's tokens are not hexadecimal, our HMACs are.
func onlyHMAC(s string) string {
	if _, err := hex.DecodeString(s); err != nil || len(s) > 64 {
		return "[redacted]"
	}
	return s
}

// printable escapes what JSON leaves alone but a terminal obeys when the log is
// shown by cat: DEL, the C1 control characters, marks that turn the direction of
// text. All of them can only be inside of strings.
func printable(raw []byte) []byte {
	if strings.IndexFunc(string(raw), unprintable) < 0 {
		return raw
	}
	out := make([]byte, 0, len(raw)+64)
	for _, r := range string(raw) {
		switch {
		case !unprintable(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

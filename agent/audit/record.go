// Package audit keeps the audit log: which step-up a program asked for, and how it
// ended. One JSON object a line, appended, rotated by size, readable by
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
	Challenge   Event = "challenge"   // Vault wanted a second factor
	Prompt      Event = "prompt"      // the person was asked
	Approved    Event = "approved"    // Vault took the answer
	Denied      Event = "denied"      // the person, or Vault after a push, said no
	Timeout     Event = "timeout"     // there was no answer in time
	Rejected    Event = "rejected"    // Vault did not take the codes
	Unavailable Event = "unavailable" // nobody could be asked, or Vault not be reached
	Cached      Event = "cached"      // a token that was there served the request
	Revoked     Event = "revoked"     // a token was revoked at Vault
	Locked      Event = "locked"      // every token was forgotten
	Resumed     Event = "resumed"     // muted rules may prompt again
	Refused     Event = "refused"     // the guard refused a request
	Withdrawn   Event = "withdrawn"   // the program left before there was an answer; DurationMS is how long it had waited
	Enrolled    Event = "enrolled"    // the person set up an authenticator, and Vault took its first code
)

// valid reports whether e is an event of the log.
func (e Event) valid() bool {
	switch e {
	case Challenge, Prompt, Approved, Denied, Timeout, Rejected, Unavailable, Cached, Revoked, Locked, Resumed, Refused, Withdrawn, Enrolled:
		return true
	default:
		return false
	}
}

// A Record is one line of the log. Fields that do not apply stay empty.
type Record struct {
	Time       time.Time `json:"time"` // zero means now; kept to the millisecond
	Event      Event     `json:"event"`
	Rule       string    `json:"rule"`
	Vault      string    `json:"vault"`
	Namespace  string    `json:"namespace"`
	Path       string    `json:"path"`      // without /v1/
	Operation  string    `json:"operation"` // Vault's capability word
	Method     string    `json:"method"`    // the MFA method
	Requester  peer.Peer `json:"requester"`
	DurationMS int64     `json:"duration_ms"`        // how long it took, in milliseconds
	Token      string    `json:"token"`              // HMAC of the token, in hexadecimal; anything else is not written
	Kind       string    `json:"kind,omitempty"`     // of a prompt: passcode, push, …
	Prompter   string    `json:"prompter,omitempty"` // that got the answer behind a decision; "" where no prompter did
	Keep       string    `json:"keep,omitempty"`     // once, rule or lock, where the person chose how long a step-up is kept
	Reason     string    `json:"reason,omitempty"`   // of what is unavailable, in words
}

// Limits of a line, so that a hostile path or process name cannot fill the
// disk; one record is at most about 100 KiB.
const (
	maxField = 1024 // bytes of a string
	maxChain = 32   // parents of a requester
)

const timeFormat = "2006-01-02T15:04:05.000Z07:00" // RFC 3339 with milliseconds

// encode returns the line of r with its newline.
func (r Record) encode() ([]byte, error) {
	if !r.Event.valid() {
		return nil, fmt.Errorf("audit: unknown event %q", r.Event)
	}
	if y := r.Time.UTC().Year(); y < 0 || y > 9999 {
		return nil, fmt.Errorf("audit: year %d cannot be written", y)
	}
	r = r.boundTo(maxField)
	r.Token = onlyHMAC(r.Token)
	raw, err := json.Marshal(struct {
		Time string `json:"time"` // hides the one of Record
		Record
	}{r.Time.UTC().Format(timeFormat), r})
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return append(Printable(raw), '\n'), nil
}

// boundTo cuts what others say in r: strings to limit bytes, lists by as much.
func (r Record) boundTo(limit int) Record {
	for _, field := range []*string{&r.Rule, &r.Vault, &r.Namespace, &r.Path, &r.Operation, &r.Method, &r.Kind, &r.Prompter, &r.Keep, &r.Reason} {
		*field = bound(*field, limit)
	}
	r.Requester = boundPeer(r.Requester, limit)
	return r
}

// boundPeer cuts what a peer says. Its chain is never null.
func boundPeer(p peer.Peer, limit int) peer.Peer {
	most := max(1, maxChain*limit/maxField)
	chain, mayBe := p.Chain[:min(len(p.Chain), most)], p.MayBe[:min(len(p.MayBe), most)]
	p.Exe, p.Chain, p.MayBe = bound(p.Exe, limit), []string{}, nil
	for _, name := range chain {
		p.Chain = append(p.Chain, bound(name, limit))
	}
	for _, c := range mayBe {
		p.MayBe = append(p.MayBe, peer.Candidate{PID: c.PID, Name: bound(c.Name, limit)})
	}
	return p
}

// bound cuts s to limit bytes, at the end of a character.
func bound(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= limit {
		return s
	}
	const mark = "…"
	end := limit - len(mark)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}

// onlyHMAC keeps a token that was passed by mistake from being written to
// disk: Vault's tokens are not hexadecimal, our HMACs are.
func onlyHMAC(s string) string {
	if _, err := hex.DecodeString(s); err != nil || len(s) > 64 {
		return "[redacted]"
	}
	return s
}

// Printable escapes in JSON what JSON leaves alone but a terminal obeys when the log is
// shown by cat: DEL, the C1 control characters, marks that turn the direction of
// text. All of them can only be inside of strings; line breaks can only be outside.
func Printable(raw []byte) []byte { return escape(raw, unprintable) }

// escape writes the characters of a JSON text that are bad as JSON's escapes.
func escape(raw []byte, bad func(rune) bool) []byte {
	if strings.IndexFunc(string(raw), bad) < 0 {
		return raw
	}
	out := make([]byte, 0, len(raw)+64)
	for _, r := range string(raw) {
		switch {
		case !bad(r):
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

func unprintable(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }

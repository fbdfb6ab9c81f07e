package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/rule"
)

// maxChanges are said one by one: a file that was replaced by another one would
// fill a page.
const maxChanges = 30

// Changes says in one line, without a full stop, what is new in next since old:
// vaults, methods, rules, listeners, and then the settings of the other blocks
// with their values. Arguments of programs are not repeated, because people put
// passwords there.
func Changes(old, next *Config) string {
	all := slices.Concat(
		named("vault", old.Vaults, next.Vaults, func(v Vault) string { return v.Name }),
		named("mfa_method", old.Methods, next.Methods, func(m Method) string { return m.Name }),
		rules(old, next),
		listeners(old.Listeners, next.Listeners),
		settings("login_mfa", old.LoginMFA, next.LoginMFA),
		settings("prompt", old.Prompt, next.Prompt),
		settings("cache", old.Cache, next.Cache),
		settings("relay", old.Relay, next.Relay),
		settings("audit", old.Audit, next.Audit),
		settings("telemetry", old.Telemetry, next.Telemetry),
		settings("log", old.Log, next.Log),
	)
	if len(all) == 0 {
		return "nothing changed"
	}
	if more := len(all) - maxChanges; more > 0 {
		all = append(all[:maxChanges], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, ", ")
}

// named compares blocks that have names: what is in next in its order, then what
// is gone.
func named[T any](kind string, old, next []T, name func(T) string) []string {
	var said []string
	say := func(b T, word string) { said = append(said, fmt.Sprintf("%s %q %s", kind, name(b), word)) }
	same := func(n string) func(T) bool { return func(b T) bool { return name(b) == n } }
	for _, b := range next {
		switch i := slices.IndexFunc(old, same(name(b))); {
		case i < 0:
			say(b, "added")
		case !reflect.DeepEqual(old[i], b):
			say(b, "changed")
		}
	}
	for _, b := range old {
		if !slices.ContainsFunc(next, same(name(b))) {
			say(b, "removed")
		}
	}
	return said
}

// rules also notices another order, because the first rule that matches wins.
func rules(old, next *Config) []string {
	in := func(c *Config) (names []string) {
		for _, r := range c.Rules {
			names = append(names, r.Name)
		}
		return names
	}
	was, is := in(old), in(next)
	said := named("rule", old.Rules, next.Rules, func(r rule.Rule) string { return r.Name })
	kept := func(names, others []string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !slices.Contains(others, n) })
	}
	if !slices.Equal(kept(was, is), kept(is, was)) {
		said = append(said, "rules in another order")
	}
	return said
}

func listeners(old, next []Listener) []string {
	var said []string
	say := func(l Listener, word string) {
		said = append(said, fmt.Sprintf("listener %s %s %s", l.Network, plain(l.Address), word))
	}
	same := func(l Listener) func(Listener) bool {
		return func(o Listener) bool { return o.Network == l.Network && o.Address == l.Address }
	}
	for _, l := range next {
		switch i := slices.IndexFunc(old, same(l)); {
		case i < 0:
			say(l, "opened")
		case old[i] != l:
			say(l, "changed")
		}
	}
	for _, l := range old {
		if !slices.ContainsFunc(next, same(l)) {
			say(l, "closed")
		}
	}
	return said
}

// settings compares a block that is there once, argument by argument.
func settings[T any](block string, old, next T) []string {
	var said []string
	was, is := reflect.ValueOf(old), reflect.ValueOf(next)
	for i := range was.NumField() {
		before, now := was.Field(i).Interface(), is.Field(i).Interface()
		if reflect.DeepEqual(before, now) {
			continue
		}
		argument := wordOf(was.Type().Field(i))
		if argument == "command" {
			said = append(said, fmt.Sprintf("%s %s changed", block, argument))
			continue
		}
		said = append(said, fmt.Sprintf("%s %s %s -> %s", block, argument, shown(before), shown(now)))
	}
	return said
}

// shown is a value as it is written in the file.
func shown(v any) string {
	switch v := v.(type) {
	case string:
		return plain(v)
	case []string:
		if len(v) == 0 {
			return "none"
		}
		list := make([]string, 0, len(v))
		for _, s := range v {
			list = append(list, plain(s))
		}
		return "[" + strings.Join(list, " ") + "]"
	case time.Duration:
		return shownDuration(v)
	case int64: // a number of bytes
		return shownSize(v)
	}
	return strings.ToLower(fmt.Sprint(v)) // a number, true, false, or a level
}

// shownSize is 67108864 as 64MiB.
func shownSize(n int64) string {
	for _, u := range []struct {
		suffix string
		bytes  int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

// shownDuration is 15m0s as 15m.
func shownDuration(d time.Duration) string {
	s := d.String()
	if d%time.Minute == 0 && d != 0 {
		s = strings.TrimSuffix(s, "0s")
	}
	if d%time.Hour == 0 && d != 0 {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// plain leaves a word as it is and quotes everything else.
func plain(s string) string {
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:[]*", r))
	}
	switch {
	case s == "":
		return "none"
	case strings.ContainsFunc(s, odd):
		return fmt.Sprintf("%q", s)
	}
	return s
}

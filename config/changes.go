package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/rule"
)

// maxChanges is the number of changes that are listed: a file that was replaced by
// another one would fill a page.
const maxChanges = 30

// Changes returns one line, without a full stop, on how next differs from old: vaults,
// methods, rules, listeners, and then the settings of the other blocks with their values.
// It does not repeat arguments of programs, because people put passwords there.
func Changes(old, next *agent.Config) string {
	all := slices.Concat(
		blocks(old.Vaults, next.Vaults, func(v agent.Vault) string { return fmt.Sprintf("vault %q", v.Name) }),
		blocks(old.Methods, next.Methods, func(m agent.Method) string { return fmt.Sprintf("mfa_method %q", m.Name) }),
		blocks(old.Rules, next.Rules, func(r rule.Rule) string { return fmt.Sprintf("rule %q", r.Name) }),
		order(old.Rules, next.Rules),
		blocks(old.Listeners, next.Listeners, func(l agent.Listener) string {
			return fmt.Sprintf("listener %s %s", l.Network, shown(l.Address))
		}),
	)
	was, is := reflect.ValueOf(*old), reflect.ValueOf(*next)
	for _, f := range shapeOf(was.Type(), "").blocks {
		if f.Type.Kind() == reflect.Struct {
			all = append(all, settings(wordOf(f), was.FieldByIndex(f.Index), is.FieldByIndex(f.Index))...)
		}
	}
	if len(all) == 0 {
		return "nothing changed"
	}
	if more := len(all) - maxChanges; more > 0 {
		all = append(all[:maxChanges], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, ", ")
}

// blocks compares blocks by their titles: those of next in their order, then those that
// only old has.
func blocks[T any](old, next []T, title func(T) string) (all []string) {
	added, removed := "added", "removed"
	if _, ok := any(old).([]agent.Listener); ok {
		added, removed = "opened", "closed"
	}
	same := func(b T) func(T) bool { return func(other T) bool { return title(other) == title(b) } }
	for _, b := range next {
		switch i := slices.IndexFunc(old, same(b)); {
		case i < 0:
			all = append(all, title(b)+" "+added)
		case !reflect.DeepEqual(old[i], b):
			all = append(all, title(b)+" changed")
		}
	}
	for _, b := range old {
		if !slices.ContainsFunc(next, same(b)) {
			all = append(all, title(b)+" "+removed)
		}
	}
	return all
}

// order reports rules that changed places, because the first that matches wins.
func order(old, next rule.Rules) []string {
	kept := func(rules, others rule.Rules) (names []string) {
		for _, r := range rules {
			if slices.ContainsFunc(others, func(other rule.Rule) bool { return other.Name == r.Name }) {
				names = append(names, r.Name)
			}
		}
		return names
	}
	if slices.Equal(kept(old, next), kept(next, old)) {
		return nil
	}
	return []string{"rules in another order"}
}

// settings compares a block that is there once, argument by argument.
func settings(block string, was, is reflect.Value) (all []string) {
	for _, f := range shapeOf(was.Type(), "").args {
		before, now := was.FieldByIndex(f.Index).Interface(), is.FieldByIndex(f.Index).Interface()
		if reflect.DeepEqual(before, now) {
			continue
		}
		change := shown(before) + " -> " + shown(now)
		if wordOf(f) == "command" {
			change = "changed"
		}
		all = append(all, block+" "+wordOf(f)+" "+change)
	}
	return all
}

// shown is a value as it is written in the file.
func shown(v any) string {
	switch v := v.(type) {
	case string:
		odd := func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:[]*", r))
		}
		switch {
		case v == "":
			return "none"
		case strings.ContainsFunc(v, odd):
			return strconv.Quote(v)
		}
		return v
	case []string:
		if len(v) == 0 {
			return "none"
		}
		list := make([]string, 0, len(v))
		for _, s := range v {
			list = append(list, shown(s))
		}
		return "[" + strings.Join(list, " ") + "]"
	case time.Duration:
		return strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(v.String()) // 15m0s as 15m
	case int64: // a number of bytes
		for _, u := range sizeUnits() {
			if u.bytes > 1 && v >= u.bytes && v%u.bytes == 0 {
				return strconv.FormatInt(v/u.bytes, 10) + u.suffix
			}
		}
	}
	return strings.ToLower(fmt.Sprint(v)) // a number, true, false, or a level
}

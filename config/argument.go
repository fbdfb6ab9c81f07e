package config

import (
	"fmt"
	"log/slog"
	"math/big"
	"net/url"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/vault-stepup/stepup/agent/rule"
)

// An argument of a block is read into the field of its tag.
type argument struct {
	b    *block
	name string
	expr hclsyntax.Expression
	tag  reflect.StructTag
}

// read sets the field, by its type. A value that is wrong is reported and not set.
func (a argument) read(field reflect.Value) {
	switch target := field.Addr().Interface().(type) {
	case *bool:
		a.flag(target)
	case *int:
		a.count(target)
	case *int64:
		a.size(target)
	case *time.Duration:
		a.duration(target)
	case **url.URL:
		if t, ok := a.text(); ok {
			*target, _ = readAddress(a.b.d.file, t)
		}
	case *slog.Level:
		if t, ok := a.text(); ok {
			_ = target.UnmarshalText([]byte(t.value)) // one of the words, which are slog's
		}
	case *[]rule.Pattern:
		*target = a.patterns()
	default:
		if field.Kind() == reflect.Slice {
			a.list(field)
		} else if t, ok := a.text(); ok {
			field.SetString(t.value)
		}
	}
}

// fail reports a problem of the value.
func (a argument) fail(problem message) { a.b.d.fail(a.expr.Range(), problem) }

// text reads a text as the tag wants it.
func (a argument) text() (text, bool) {
	d := a.b.d
	t, ok := d.textOf(a.expr, wantText)
	if !ok {
		return text{}, false
	}
	if t.value == "" && a.tag.Get("form") != "namespace" {
		d.fail(t.at, say("%s is empty", a.name))
		return text{}, false
	}
	if words := a.tag.Get("words"); words != "" && !d.oneOf(a.name, t, strings.Fields(words)) {
		return text{}, false
	}
	if limit, err := strconv.Atoi(a.tag.Get("max")); err == nil && len(t.value) > limit {
		d.fail(t.at, say("%s is longer than %d bytes", a.name, limit))
	}
	if kind := a.tag.Get("names"); kind != "" {
		d.refer(kind, a.b.title, t)
	}
	if a.tag.Get("form") == "path" {
		if !filepath.IsAbs(t.value) {
			d.fail(t.at, wordsRelative(a.name, t))
			return text{}, false
		}
		t.value = filepath.Clean(t.value)
	}
	if a.tag.Get("form") == "program" && !d.program(a.name, t) {
		return text{}, false
	}
	a.b.found[a.name] = []text{t}
	return t, true
}

// texts reads a list of texts, none of them empty. Elements that are wrong are left out of
// the result, so that the rest can still be checked; ok is then false.
func (a argument) texts() (all []text, ok bool) {
	list, ok := a.expr.(*hclsyntax.TupleConsExpr)
	if !ok {
		if v, ok := a.b.d.evaluate(a.expr, wantList); ok {
			a.fail(wordsType(wantList, kindOfValue(v)))
		}
		return nil, false
	}
	form := a.tag.Get("form")
	if len(list.Exprs) == 0 && (a.tag.Get("min") != "" || a.tag.Get("names") != "" || form == "program") {
		a.fail(say("%s is an empty list", a.name).hint("name at least one"))
		return nil, false
	}
	for _, e := range list.Exprs {
		t, good := a.b.d.textOf(e, wantText)
		if good && t.value == "" {
			a.b.d.fail(t.at, say("an element of %s is empty", a.name).hint("take it out of the list"))
			good = false
		}
		if good {
			all = append(all, t)
		}
		ok = ok && good
	}
	return all, ok
}

// list reads a list of texts as the tag wants it.
func (a argument) list(field reflect.Value) {
	all, ok := a.texts()
	words, kind := strings.Fields(a.tag.Get("words")), a.tag.Get("names")
	switch form := a.tag.Get("form"); {
	case form == "program":
		ok = ok && a.b.d.program(a.name, all[0])
	case form == "mount":
		all = a.mounts(all)
		ok = len(all) > 0
	case len(words) > 0:
		good := a.distinct(all, words, "")
		ok = ok && len(good) == len(all)
	case kind != "":
		all, ok = a.distinct(all, nil, kind), true
	}
	if !ok {
		return
	}
	a.b.found[a.name] = all
	field.SetZero()
	for _, t := range all {
		field.Set(reflect.Append(field, reflect.ValueOf(t.value).Convert(field.Type().Elem())))
	}
}

// distinct reports and leaves out texts that are none of words, if there are any, and
// repetitions. kind are the blocks that the texts name; "" for none.
func (a argument) distinct(all []text, words []string, kind string) (out []text) {
	for _, t := range all {
		switch {
		case len(words) > 0 && !a.b.d.oneOf(a.name, t, words):
		case slices.ContainsFunc(out, func(other text) bool { return other.value == t.value }):
			a.b.d.fail(t.at, wordsRepeated(a.name, t))
		default:
			out = append(out, t)
			if kind != "" {
				a.b.d.refer(kind, a.b.title, t)
			}
		}
	}
	return out
}

// mounts are paths of auth methods, without slashes at the ends. A login can carry the
// factor of one kind only, so no two arguments of a block name the same.
func (a argument) mounts(all []text) (out []text) {
	for _, t := range all {
		mount := strings.TrimSuffix(t.value, "/")
		if first, again := a.b.mounts[mount]; again {
			a.b.d.fail(t.at, say("%s is named twice", t.shown).hint("it is in %s already", first))
			continue
		}
		if !isMount(mount) {
			a.b.d.fail(t.at, say("%s is not an auth mount", t.shown).
				hint(`write the whole path as in vault auth list, with auth/ in front and no * or +: "auth/ldap"`))
			continue
		}
		a.b.mounts[mount] = fmt.Sprintf("%s on line %d", a.name, t.at.Start.Line)
		t.value = mount
		out = append(out, t)
	}
	return out
}

// isMount reports whether a path is one of an auth method, not of a login there.
func isMount(mount string) bool {
	rest, found := strings.CutPrefix(mount, "auth/")
	return found && rest != "" && "/"+mount == path.Clean("/"+mount) &&
		!strings.ContainsAny(rest, "*+") && !slices.Contains(strings.Split(rest, "/"), "login")
}

// patterns reads paths as in Vault's policies.
func (a argument) patterns() (out []rule.Pattern) {
	all, _ := a.texts()
	for _, t := range all {
		p, err := rule.ParsePattern(t.value)
		if err != nil {
			a.b.d.fail(t.at, say("%s cannot be used as a path of a rule", t.shown).because("%v", err))
			continue
		}
		if strings.Contains(strings.TrimSuffix(t.value, "*"), "*") {
			a.b.d.warn(t.at, say("a * that is not at the end of %s stands for itself", t.shown).
				hint("use + for any one segment, as in a Vault policy"))
		}
		if p.HasInnerPlus() {
			a.b.d.warn(t.at, say("a + in %s stands for itself, because there is more in its segment", t.shown).
				hint("use + alone between two slashes for any one segment, as in a Vault policy"))
		}
		if cleaned := p.Cleaned(); cleaned != p.String() {
			a.b.d.warn(t.at, say("no request has the path %s: paths are cleaned before a rule is looked for", t.shown).
				hint("write %s", rule.Quote(cleaned)))
		}
		out = append(out, p)
		a.b.found[a.name] = append(a.b.found[a.name], t)
	}
	return out
}

// flag reads true or false, or the two words that stand for false and true.
func (a argument) flag(target *bool) {
	if words := strings.Fields(a.tag.Get("words")); len(words) > 0 {
		if t, ok := a.text(); ok {
			*target = t.value == words[1]
		}
		return
	}
	if v, ok := a.b.d.typed(a.expr, cty.Bool, wantFlag); ok {
		*target = v.True()
	}
}

// count reads a whole number in min..max.
func (a argument) count(target *int) {
	v, ok := a.b.d.typed(a.expr, cty.Number, wantNumber)
	if !ok {
		return
	}
	lo, _ := strconv.ParseInt(a.tag.Get("min"), 10, 64) // 0 without one
	hi, _ := strconv.ParseInt(a.tag.Get("max"), 10, 64)
	n, accuracy := v.AsBigFloat().Int64()
	if accuracy != big.Exact || n < lo || n > hi {
		a.fail(say("%s must be a whole number from %d to %d", a.name, lo, hi))
		return
	}
	*target = int(n)
}

// duration reads a duration that is more than 0 and at most max.
func (a argument) duration(target *time.Duration) {
	t, ok := a.b.d.textOf(a.expr, wantDuration)
	if !ok {
		return
	}
	limit, _ := time.ParseDuration(a.tag.Get("max"))
	v, err := time.ParseDuration(t.value)
	switch {
	case err != nil:
		a.fail(say("%s cannot be read as a duration: %s", a.name, t.shown).
			hint(`write a number with a unit, such as "55s", "5m" or "1h30m"`))
	case v <= 0 || v > limit:
		a.fail(say("%s is out of range: %s", a.name, t.shown).hint("it must be more than 0 and at most %s", a.tag.Get("max")))
	default:
		*target = v
	}
}

// size reads a number of bytes up to max, or a text such as "512KiB".
func (a argument) size(target *int64) {
	v, ok := a.b.d.evaluate(a.expr, wantSize)
	if !ok {
		return
	}
	limit, _ := parseSize(a.tag.Get("max"))
	n, ok := sizeOf(v)
	switch {
	case !ok:
		a.fail(wordsType(wantSize, a.b.d.textAt(a.expr.Range())))
	case n < 0 || n > limit:
		a.fail(say("%s is out of range", a.name).hint("it must be at least 0 and at most %s", a.tag.Get("max")))
	default:
		*target = n
	}
}

func sizeOf(v cty.Value) (int64, bool) {
	switch {
	case isA(v, cty.Number):
		n, accuracy := v.AsBigFloat().Int64()
		return n, accuracy == big.Exact
	case isA(v, cty.String):
		return parseSize(v.AsString())
	}
	return 0, false
}

// parseSize reads "1MiB", "512 KiB", "100B" or "4096".
func parseSize(s string) (int64, bool) {
	unit := int64(1)
	for _, u := range sizeUnits() {
		if rest, ok := strings.CutSuffix(s, u.suffix); ok {
			s, unit = strings.TrimRight(rest, " "), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return 0, false
	}
	return n * unit, true
}

// A sizeUnit may follow a number of bytes.
type sizeUnit struct {
	suffix string
	bytes  int64
}

// sizeUnits returns all units, the largest first.
func sizeUnits() []sizeUnit {
	return []sizeUnit{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}
}

package e2e

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

// A judge holds outcomes against the law.
type judge struct {
	t        *testing.T
	world    *lawWorld
	mounts   []string
	asked    map[string][]string // capabilities by rule and path
	tokens   map[string]string   // one that may only what a rule says, by rule
	elevated int                 // answers by a step-up
	strayed  int                 // those of them that are in breach of the law
	touched  int                 // refused step-ups where there was nothing to step up
	odd      int                 // answers that nothing would have got directly
	kinds    map[string]int      // elevated answers by kind of grant
	shown    map[string]int
}

func newJudge(t *testing.T, w *lawWorld) *judge {
	t.Helper()
	j := &judge{
		t: t, world: w, mounts: []string{"kv/", "kv1/", "secret/", "cubbyhole/", "sys/", "identity/", "auth/token/", "auth/userpass/"},
		asked: map[string][]string{}, tokens: map[string]string{}, kinds: map[string]int{}, shown: map[string]int{},
	}
	for name, r := range lawRules {
		var policy strings.Builder
		operations := r.operations
		if operations == nil {
			operations = capabilities()
		}
		for _, p := range r.paths {
			policy.WriteString("path \"" + p + "\" { capabilities = [" + quoted(operations) + "] }\n")
		}
		u := w.server.newUser(t, w.server.policy(t, policy.String()))
		w.server.write(t, "auth/userpass/users/"+u.name, map[string]any{"token_no_default_policy": true})
		j.tokens[name] = u.token(t)
	}
	return j
}

// judge holds one outcome against the law.
func (j *judge) judge(o outcome) {
	c := o.draw.grant.callers[o.draw.holder]
	used := j.elevatedEntries(o)
	same := o.via.text == o.own.text
	if len(used) == 0 && !same && o.via.text == o.high.text {
		used = []entry{unlogged(o)}
	}
	if len(used) > 0 && !(c.dead && same) { // a dead caller's step-up token may be dead as well
		j.elevated++
		j.kinds[o.draw.grant.kind]++
	}
	for _, e := range used {
		switch {
		case c.dead && same:
			continue
		case c.dead:
			j.stray(o, "a dead caller's step-up served", e)
			return
		case o.draw.grant.kind != "header" && !j.serves(c, e):
			j.stray(o, "not under the rule", e)
			return
		case o.draw.grant.kind == "header" && !j.under("all", e) && !j.under("readers", e):
			j.stray(o, "the code went to a path under no rule", e)
			return
		}
	}
	if !same && o.via.text != o.high.text {
		j.odd++
		j.show(o, "an answer that is neither the own token's nor the step-up's", entry{})
	}
	if o.via.outcome != "" && !c.dead {
		j.took(o)
	}
}

// took is an answer that a step-up had a part in, were it a refused one: only on a path of a rule.
func (j *judge) took(o outcome) {
	for _, e := range j.world.routed(o.own.id) {
		if !j.under("all", e) && !j.under("readers", e) && !j.preflight("all", e) && !j.preflight("readers", e) {
			j.touched++
			j.show(o, "a step-up had a part in it: "+o.via.outcome, e)
			return
		}
	}
}

// elevatedEntries are the requests that reached a backend with more than the caller's own token.
func (j *judge) elevatedEntries(o outcome) (used []entry) {
	for _, e := range j.world.routed(o.via.id) {
		if e.factor || e.token != o.draw.grant.callers[o.draw.holder].id {
			used = append(used, e)
		}
	}
	return used
}

// unlogged is a request that Vault refused before it wrote its log.
func unlogged(o outcome) entry {
	sent, _, _ := strings.Cut(o.high.target, "?")
	path, err := url.PathUnescape(sent)
	if err != nil {
		return entry{}
	}
	operation := map[string]string{"GET": "read", "LIST": "list", "POST": "update", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[o.draw.call.method]
	return entry{path: strings.TrimPrefix(path, "/v1/"), operation: operation}
}

// serves reports whether one of the caller's step-up tokens went where its rule lets it.
func (j *judge) serves(c *caller, e entry) bool {
	for rule, token := range c.elevated {
		if token == e.token || e.token == "" {
			return j.under(rule, e) || j.preflight(rule, e)
		}
	}
	return false
}

// under asks Vault: a token that may only what the rule names, and this path.
func (j *judge) under(rule string, e entry) bool {
	if e.operation != "list" && e.operation != "scan" && strings.HasSuffix(e.path, "/") {
		return j.underFolder(rule, e)
	}
	return slices.Contains(j.capabilities(rule, e.path), e.operation)
}

// underFolder is for what is no list but ends as one: capabilities are always told as for a list, where
// a rule without the slash counts, too. Such a rule is taken out: it names the path exactly, or its last
// segment is any one.
func (j *judge) underFolder(rule string, e entry) bool {
	if !slices.Contains(j.capabilities(rule, e.path), e.operation) {
		return false
	}
	return slices.ContainsFunc(lawRules[rule].paths, func(p string) bool {
		prefix, star := strings.CutSuffix(p, "*")
		if !star {
			return false // none of them ends in a slash
		}
		want, have := strings.Split(prefix, "/"), strings.Split(strings.TrimLeft(e.path, "/"), "/")
		if len(have) < len(want) {
			return false
		}
		for i, s := range want[:len(want)-1] {
			if s != "+" && s != have[i] {
				return false
			}
		}
		return strings.HasPrefix(have[len(want)-1], want[len(want)-1])
	})
}

func (j *judge) capabilities(rule, path string) []string {
	key := rule + " " + path
	if path == "" {
		return nil
	}
	if _, known := j.asked[key]; !known {
		all, err := j.world.server.root.Sys().CapabilitiesWithContext(j.t.Context(), j.tokens[rule], path)
		if err != nil {
			j.t.Fatalf("capabilities of %q: %v", path, err)
		}
		j.asked[key] = all
	}
	return j.asked[key]
}

// preflight is the request about a mount before a read: of a path under the rule, with or without data/ or
// metadata/ behind its mount, or of the mount itself that one of the rule's paths begins with. An agent cannot
// know where the mount ends, so data/ and metadata/ may stand behind any segment.
func (j *judge) preflight(rule string, e entry) bool {
	path, ok := strings.CutPrefix(e.path, "sys/internal/ui/mounts/")
	if !ok || e.operation != "read" {
		return false
	}
	path = strings.TrimLeft(path, "/")
	segments := strings.Split(strings.TrimRight(path, "/"), "/")
	for i := 1; i < len(segments); i++ {
		for _, kind := range []string{"data", "metadata"} {
			typed := strings.Join(slices.Insert(slices.Clone(segments), i, kind), "/")
			if j.under(rule, entry{path: typed, operation: "read"}) {
				return true
			}
		}
	}
	for _, mount := range j.mounts {
		rest, inside := strings.CutPrefix(path, mount)
		switch {
		case path+"/" == mount || path == mount:
			return slices.ContainsFunc(lawRules[rule].paths, func(p string) bool { return strings.HasPrefix(p, mount) })
		case !inside:
			continue
		}
		if j.under(rule, entry{path: mount + "metadata/" + strings.TrimRight(rest, "/") + "/", operation: "list"}) {
			return true // vault kv list looks like this
		}
		for _, typed := range []string{path, mount + "data/" + rest, mount + "metadata/" + rest} {
			for _, op := range []string{"read", "list"} {
				if j.under(rule, entry{path: typed, operation: op}) || j.under(rule, entry{path: strings.TrimRight(typed, "/"), operation: op}) {
					return true
				}
			}
		}
	}
	return false
}

func (j *judge) stray(o outcome, why string, e entry) {
	j.strayed++
	j.show(o, why, e)
}

// show prints the first few of each kind, with what it takes to see one again.
func (j *judge) show(o outcome, why string, e entry) {
	j.t.Helper()
	key := why + o.draw.grant.kind
	if j.shown[key]++; j.shown[key] > 8 {
		j.t.Fail()
		return
	}
	j.t.Errorf("%s: request %d, grant %s, caller %s (%q): %s %s, headers %q\nrouted as %s %q\nagent:  %s %.300q\nown:    %.300q\nstep-up: %.300q",
		why, o.number, o.draw.grant.kind, o.draw.holder, o.draw.caller, o.draw.call.method, o.draw.call.target, o.draw.call.header,
		e.operation, e.path, o.via.outcome, o.via.text, o.own.text, o.high.text)
}

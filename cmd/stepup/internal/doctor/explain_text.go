package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// explainText is an explanation for people.
func explainText(e control.Explanation, now time.Time) string {
	var s cli.Sheet
	where := "vault " + cli.Printable(e.Vault)
	if e.Namespace != "" {
		where += ", namespace " + cli.Printable(e.Namespace)
	}
	what := cli.Printable(e.Operation) + " "
	if e.Login {
		what = "log in at "
	}
	s.Row("request", what+cli.Printable(e.Path), where)
	s.Row("mount", mountLines(e)...)
	s.Row("rule", takenLine(e))
	s.Row("others", reasonLines(e)...)
	s.Row("methods", methodLines(e.Methods)...)
	s.Row("token", tokenLines(e)...)
	s.Row("step-up", standingLines(e, now)...)
	for _, line := range wouldHappen(e) {
		s.Row("would", line)
	}
	return s.String()
}

// mountLines say which engine the path is in, and what it is called there.
func mountLines(e control.Explanation) (lines []string) {
	kv2, path := cli.Printable(e.KV2Path), cli.Printable(e.Path)
	switch m := e.Mount; {
	case m == nil && kv2 != "":
		return []string{"not known; a KV store of version 2 has no " + path + ": there it is " + kv2}
	case m == nil:
		return nil
	case m.Version != "":
		lines = append(lines, cli.Printable(m.Path)+", a KV store of version "+cli.Printable(m.Version))
	default:
		lines = append(lines, cli.Printable(m.Path)+", "+cli.Printable(m.Type))
	}
	if kv2 == "" {
		return lines
	}
	lines = append(lines, "version 2 has no "+path+": there it is "+kv2)
	for _, r := range e.Rules {
		for _, p := range r.Paths {
			if written, lacks := rule.InKV2(e.Mount.Path, p, operations(r)...); lacks && r.Name == e.Rule {
				lines = append(lines, "in rule "+cli.Printable(r.Name)+", write "+cli.Printable(written)+" for "+cli.Printable(p))
			}
		}
	}
	return lines
}

func operations(r control.RuleReason) (all []rule.Operation) {
	for _, word := range r.Rule.Capabilities {
		all = append(all, rule.Operation(word))
	}
	return all
}

func takenLine(e control.Explanation) string {
	for _, r := range e.Rules {
		if r.Name != e.Rule {
			continue
		}
		line := cli.Printable(r.Name) + ": " + cli.Printable(strings.Join(r.Paths, ", ")) + ", " + cli.HowText(r.Rule)
		if e.Preflight {
			line += " (for the sake of the path behind sys/internal/ui/mounts/)"
		}
		if e.KeptOnly {
			line += " (what is asked about is none of its paths, but the mount that they are in)"
		}
		return line
	}
	if e.Nearby != "" {
		return "none; did you mean " + cli.Printable(e.Nearby) + "?"
	}
	return "none"
}

// reasonLines say of every other rule why it does not take the request.
func reasonLines(e control.Explanation) (lines []string) {
	for _, r := range e.Rules {
		if r.Name == e.Rule {
			continue
		}
		why := "none of its paths: " + cli.Printable(strings.Join(r.Paths, ", "))
		switch rule.Reason(r.Why) {
		case rule.Shadowed:
			why = "would take it, but comes later in the file"
		case rule.OtherNamespace:
			why = "only in namespace " + cli.Printable(r.Namespace)
		case rule.OtherOperation:
			why = "only for " + cli.Printable(strings.Join(r.Rule.Capabilities, ", "))
		}
		lines = append(lines, cli.Printable(r.Name)+"\t"+why)
	}
	return lines
}

func methodLines(all []control.Method) (lines []string) {
	for _, m := range all {
		kind := "a push, which the phone decides"
		switch {
		case m.OrPush:
			kind = "a code, which you type, or a push, as you choose"
		case m.Passcode:
			kind = "a code, which you type"
		}
		lines = append(lines, cli.Printable(m.Name)+"\t"+cli.Printable(m.Type)+"\t"+kind)
	}
	return lines
}

func tokenLines(e control.Explanation) []string {
	switch {
	case !e.Agent:
		return []string{"not looked at: no agent was asked, so this is the configuration alone"}
	case e.Caller == "":
		return []string{"none: what your policies grant is not known (log in, or set VAULT_TOKEN)"}
	case e.CapabilitiesError != "":
		return []string{"caller " + cli.Printable(e.Caller), "vault does not say what it may do: " + cli.Printable(e.CapabilitiesError)}
	}
	return []string{"caller " + cli.Printable(e.Caller), "its policies grant there: " + cli.Printable(strings.Join(e.Capabilities, ", "))}
}

func standingLines(e control.Explanation, now time.Time) (lines []string) {
	if e.Cached != nil {
		lines = append(lines, fmt.Sprintf("a token is there, %s left, %s", cli.Duration(e.Cached.Expires.Sub(now)), cli.UsesLeft(e.Cached.Uses)))
	} else if e.Agent && e.Caller != "" && (e.Grant.Kind == string(rule.TokenGrant) || e.Grant.Kind == string(rule.LoginGrant)) {
		lines = append(lines, "no token is there for this caller")
	}
	if e.Waiting {
		lines = append(lines, "a request of this caller waits for approval")
	}
	if e.Paused != "" {
		lines = append(lines, cli.Printable(strings.TrimPrefix(e.Paused, "stepup: ")))
	}
	return lines
}

// wouldHappen tells the way of the request in its order.
func wouldHappen(e control.Explanation) (lines []string) {
	known := e.Agent && e.Caller != "" && e.CapabilitiesError == ""
	root := slices.Contains(e.Capabilities, "root")
	switch {
	case e.Login:
		return []string{"it goes to vault; where that holds the login for a second factor, you are asked, and the program gets the finished login"}
	case e.Rule == "" && known && !e.Granted && !root:
		return []string{"it goes to vault, which refuses it: your policies do not grant it"}
	case e.Rule == "":
		lines = []string{"it goes to vault, and its answer comes back as it is"}
		if known && e.Granted {
			lines = append(lines, "a refusal, although your policies grant it, means that a rule is missing: `stepup status` then has one to paste")
		}
		return lines
	case root:
		return []string{"it goes to vault, which asks root for nothing"}
	}
	if e.KeptOnly && e.Cached == nil {
		return []string{
			"it goes to vault with your own token: a look at a mount costs no code",
			"once a step-up token is there, by a request for a path of the rule or `stepup exec --rule " + cli.Printable(e.Rule) + " -- true`, it serves this, too",
		}
	}
	lines = grantSteps(e, known)
	if e.Paused != "" && e.Cached == nil {
		lines = append(lines, "nobody is asked now: "+cli.Printable(strings.TrimPrefix(e.Paused, "stepup: ")))
	}
	if e.Grant.ControlGroup != "" {
		line := "where vault wants the approval of others, it is waited for, up to " + cli.Printable(e.Grant.ControlGroup)
		if e.Grant.Approvers != "" {
			line += "; ask " + cli.Printable(e.Grant.Approvers)
		}
		lines = append(lines, line)
	}
	return lines
}

// grantSteps are what the grant of the rule does.
func grantSteps(e control.Explanation, known bool) []string {
	switch rule.GrantKind(e.Grant.Kind) {
	case rule.HeaderGrant:
		return headerSteps(e, known)
	case rule.TokenGrant:
		return mintSteps(e, fmt.Sprintf("you are asked for %s, and a token is made at %s", methodNames(e.Methods), cli.Printable(e.Grant.Path)))
	case rule.LoginGrant:
		return mintSteps(e, fmt.Sprintf("you log in once more at %s, with its password and whatever vault asks for", cli.Printable(e.Grant.Path)))
	}
	return []string{"it goes to vault as it is"}
}

func headerSteps(e control.Explanation, known bool) []string {
	names := methodNames(e.Methods)
	if known && !e.Granted {
		return []string{"it goes to vault, which refuses it: your policies do not grant it, so nobody is asked"}
	}
	codes := slices.DeleteFunc(slices.Clone(e.Methods), func(m control.Method) bool { return !m.Passcode })
	switch pushed := "it goes to vault, which asks your phone (" + names + ") and lets it wait until you have decided"; {
	case e.Grant.AsksFirst && len(codes) > 0:
		return []string{
			"you are asked for " + methodNames(codes) + " before it is sent, because vault pushes at once",
			"it goes to vault with your codes, and waits while your phone is asked",
		}
	case e.Grant.AsksFirst:
		return []string{"you are asked whether to push before it is sent", pushed}
	case len(codes) == 0:
		return []string{pushed}
	}
	return []string{
		"it goes to vault; when that refuses it, you are asked for " + names,
		"the same request goes again, with your codes",
	}
}

func mintSteps(e control.Explanation, how string) []string {
	switch {
	case e.Cached != nil:
		return []string{"it goes to vault with the step-up token that is there; nobody is asked"}
	case e.Grant.Eager:
		return []string{how, "it goes to vault with the new token, which serves later requests, too"}
	}
	return []string{
		"it goes to vault with your own token; when that refuses it, " + how,
		"it goes again with the new token, which serves later requests, too",
	}
}

func methodNames(all []control.Method) string {
	var names []string
	for _, m := range all {
		names = append(names, cli.Printable(m.Name))
	}
	return strings.Join(names, " and ")
}

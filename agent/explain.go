package agent

import (
	"cmp"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
)

// Explain tells from a configuration alone what the rules of a vault have to do
// with a request. "" is the only vault. The error is control.ErrNoVault or
// control.ErrNoPath.
func Explain(c Config, x control.Explain) (control.Explanation, error) {
	v, ok := c.Vault(x.Vault)
	if !ok {
		return control.Explanation{}, control.ErrNoVault
	}
	q, err := rule.Typed(x.Path, cmp.Or(x.Operation, string(rule.Read)), cmp.Or(x.Namespace, v.Namespace))
	if err != nil {
		return control.Explanation{}, control.ErrNoPath
	}
	rules := rulesOf(c.Rules, v.Name)
	e := control.Explanation{Vault: v.Name, Namespace: q.Namespace, Path: q.Path, Operation: string(q.Operation)}
	for _, one := range rules.Explain(q) {
		e.Rules = append(e.Rules, control.RuleReason{Rule: statusRule(*one.Rule), Why: string(one.Why)})
	}
	e.KV2Path = q.MaybeInKV2()
	m, ok := ruleFor(rules, q)
	if !ok {
		e.Nearby = rules.Nearby(q)
		q.Operation = rule.Update
		if e.Login = c.LoginMFA.Enabled && rule.IsLogin(q, nil); e.Login {
			in, _ := q.Login()
			e.Namespace, e.Path, e.Operation = in.Namespace, in.Path, string(q.Operation)
		}
		return e, nil
	}
	e.Rule = m.Rule.Name
	e.Preflight, e.KeptOnly = m.Preflight, len(m.Kept) > 0
	if !m.Preflight {
		e.Namespace, e.Path = m.Request.Namespace, m.Request.Path
	}
	methods := c.methods()
	for _, name := range rule.Join(m.Rule.Groups()...) {
		e.Methods = append(e.Methods, method(methods[name]))
	}
	if m.Rule.Silent {
		e.Paused = factor.NeverPromptedRule
	}
	asks := stepup.New(stepup.Config{Config: factor.Config{Methods: methods, ConfirmPush: c.Prompt.ConfirmPush}})
	e.Grant = control.Grant{
		AsksFirst: m.Rule.Grant.Kind == rule.HeaderGrant && asks.AsksFirst(m.Rule),
		Kind:      string(m.Rule.Grant.Kind), Path: m.Rule.Grant.Path, Eager: m.Rule.Grant.Eager,
		ControlGroup: statusRule(*m.Rule).ControlGroup, Approvers: m.Rule.ControlGroup.Approvers,
	}
	return e, nil
}

func method(m mfa.Method) control.Method {
	return control.Method{Name: m.Name, Type: m.Type, Passcode: m.UsesPasscode, OrPush: m.OrPush}
}

// ruleFor finds the rule that a request comes under, as the relay does.
func ruleFor(rules rule.Rules, q rule.Request) (rule.Match, bool) {
	if m, ok := rules.Match(q); ok {
		return m, true
	}
	return rules.MatchPreflight(q)
}

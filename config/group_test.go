package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/rule"
)

func TestControlGroup(t *testing.T) {
	t.Parallel()
	const around = `vault "corp" { address = "https://vault.example:8200" }
listener "tcp" { address = "127.0.0.1:8100" }
mfa_method "totp" { type = "totp" }
step_up "pay" {
  paths = ["kv/data/pay/*"]
`
	tests := map[string]struct {
		rule string
		want rule.ControlGroup
		kind rule.GrantKind
	}{
		"alone": {"control_group {}", rule.ControlGroup{Timeout: 55 * time.Second}, rule.NoGrant},
		"in lines": {
			"control_group {\n timeout = \"10m\"\n approvers = \"the payroll leads\"\n}",
			rule.ControlGroup{Timeout: 10 * time.Minute, Approvers: "the payroll leads"}, rule.NoGrant,
		},
		"beside a factor": {
			"methods = [\"totp\"]\ngrant \"header\" {}\ncontrol_group {}",
			rule.ControlGroup{Timeout: 55 * time.Second}, rule.HeaderGrant,
		},
		"none": {"methods = [\"totp\"]\ngrant \"header\" {}", rule.ControlGroup{}, rule.HeaderGrant},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, diags := Parse("x.hcl", []byte(around+tt.rule+"\n}\n"), fixed())
			if err := diags.Err(); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, c.Rules[0].ControlGroup); d != "" || c.Rules[0].Grant.Kind != tt.kind {
				t.Errorf("grant %q, %s", c.Rules[0].Grant.Kind, d)
			}
		})
	}
}

package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/rule"
)

func TestControlGroup(t *testing.T) {
	t.Parallel()
	type read struct {
		Group rule.ControlGroup
		Kind  rule.GrantKind
	}
	for name, tt := range map[string]struct {
		rule string
		want read
	}{
		"alone": {"control_group {}", read{rule.ControlGroup{Timeout: 55 * time.Second}, rule.NoGrant}},
		"in lines": {
			"control_group {\n timeout = \"10m\"\n approvers = \"the payroll leads\"\n}",
			read{rule.ControlGroup{Timeout: 10 * time.Minute, Approvers: "the payroll leads"}, rule.NoGrant},
		},
		"beside a factor": {
			"methods = [\"m\"]\ngrant \"header\" {}\ncontrol_group {}",
			read{rule.ControlGroup{Timeout: 55 * time.Second}, rule.HeaderGrant},
		},
		"none": {"methods = [\"m\"]\ngrant \"header\" {}", read{rule.ControlGroup{}, rule.HeaderGrant}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := parsed(t, head+"step_up \"pay\" {\n paths = [\"kv/data/pay/*\"]\n"+tt.rule+"\n}\n").Rules[0]
			if diff := cmp.Diff(tt.want, read{r.ControlGroup, r.Grant.Kind}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

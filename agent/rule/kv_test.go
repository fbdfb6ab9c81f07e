package rule_test

import (
	"testing"

	"github.com/vault-stepup/stepup/agent/rule"
)

func TestInKV2(t *testing.T) {
	t.Parallel()
	list, both := []rule.Operation{rule.List, rule.Scan}, []rule.Operation{rule.List, rule.Read}
	for _, tt := range []struct {
		mount, path string
		operations  []rule.Operation
		want        string // "": the path may be right, or is another mount's
	}{
		{"kv/", "kv/prod/*", nil, "kv/data/prod/*"},
		{"kv/", "kv/prod/db", []rule.Operation{rule.Read}, "kv/data/prod/db"},
		{"kv", "kv/prod*", nil, "kv/data/prod*"},
		{"kv/", "kv/prod/", list, "kv/metadata/prod/"},
		{"kv/", "kv/prod/*", both, "kv/data/prod/*"},
		{"team/kv/", "team/kv/prod/+", nil, "team/kv/data/prod/+"},
		{"kv/", "+/prod/*", nil, "+/data/prod/*"},
		{"kv/", "/kv/prod", nil, "kv/data/prod"},
		{"kv/", "kv/data/prod/*", nil, ""},
		{"kv/", "kv/metadata/*", list, ""},
		{"kv/", "kv/destroy/prod", nil, ""},
		{"kv/", "kv/config", nil, ""},
		{"kv/", "kv/*", nil, ""},
		{"kv/", "kv/da*", nil, ""},
		{"kv/", "kv/date*", nil, "kv/data/date*"},
		{"kv/", "kv/data*", nil, ""},
		{"kv/", "kv/da*/x", nil, "kv/data/da*/x"},
		{"kv/", "kv/+/prod", nil, ""},
		{"kv/", "kv", nil, ""},
		{"kv/", "kv/", nil, ""},
		{"kv/", "k*", nil, ""},
		{"kv/", "*", nil, ""},
		{"kv/", "other/prod", nil, ""},
		{"team/kv/", "team/prod", nil, ""},
		{"", "kv/prod", nil, ""},
		{"/", "kv/prod", nil, ""},
	} {
		got, ok := rule.InKV2(tt.mount, tt.path, tt.operations...)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("InKV2(%q, %q, %v) = %q, %t, want %q", tt.mount, tt.path, tt.operations, got, ok, tt.want)
		}
		if again, ok := rule.InKV2(tt.mount, got, tt.operations...); ok {
			t.Errorf("InKV2(%q, %q, %v) once more: %q", tt.mount, got, tt.operations, again)
		}
	}
}

func TestMayLackData(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"kv/prod/*": true, "kv/prod": true, "transit/sign/+": true, "team/kv/prod/*": true, "kv/pr*": true, "kv/prod/+/x": true,
		"kv/data/prod/*": false, "kv/metadata/*": false, "team/kv/data/x": false, "kv/*": false, "kv/+/x": false, "+/prod/*": false, "*": false, "kv": false,
		"kv/d*":  false,
		"auth/x": false, "sys/policy/x": false, "identity/entity/x": false, "cubbyhole/x": false, "sys/internal/ui/mounts/kv/x": false,
	} {
		p, err := rule.ParsePattern(path)
		if err != nil || p.MayLackData() != want {
			t.Errorf("%q: %t, %v, want %t", path, p.MayLackData(), err, want)
		}
	}
	for path, want := range map[string]string{"kv/prod/*": "kv/prod", "kv/pr*": "kv", "a/+/b": "a", "+/b": "", "kv/prod/db": "kv/prod/db", "kv/": "kv", "*": ""} {
		if p, err := rule.ParsePattern(path); err != nil || p.Literal() != want {
			t.Errorf("%q begins with %q, %v, want %q", path, p.Literal(), err, want)
		}
	}
}

func TestNamedKV(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"kv/x": true, "secret/x": true, "team-kv/x": true, "KV_2/x": true, "kv-v2/x": true, "secrets": true,
		"transit/x": false, "pki/kv": false, "": false, "kvm/x": false, "/kv": false,
	} {
		if got := rule.NamedKV(path); got != want {
			t.Errorf("%q: %t", path, got)
		}
	}
}

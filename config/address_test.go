package config

import (
	"strings"
	"testing"
)

func TestAddressWithAPath(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"https://host/vault":          "https://host/vault",
		"https://host/a/vault/":       "https://host/a/vault",
		"https://host/":               "https://host",
		"http://127.0.0.1:8100/":      "points at stepup's own",
		"http://127.0.0.1:8100/vault": "points at stepup's own", // its listener takes any path
		"https://host//vault":         "is not plain",
		"https://host/%76ault":        "is not plain",
		"https://host/vault/v1/":      "has /v1 in its path",
	} {
		got, diags := Parse("stepup.hcl", []byte(`vault "corp" { address = "`+address+`" }
listener "tcp" { address = "127.0.0.1:8100" }
`), fixed())
		switch {
		case diags.HasErrors():
			if text := report(t, diags); !strings.Contains(text, want) {
				t.Errorf("%s: %s, want %q", address, text, want)
			}
		case got.Vaults[0].Address.String() != want:
			t.Errorf("%s is %s, want %s", address, got.Vaults[0].Address, want)
		}
	}
}

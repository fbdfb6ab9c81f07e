package config

import (
	"strings"
	"testing"
)

func TestStarter(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"https://vault.example:8200", "http://127.0.0.1:8200", "unix:///run/vault.sock"} {
		cfg, diags := Parse("stepup.hcl", Starter(address), fixed())
		if len(diags.All()) > 0 {
			t.Fatal(report(t, diags))
		}
		if cfg.Vaults[0].Address.String() != address {
			t.Errorf("Starter(%q) has the address %v", address, cfg.Vaults[0].Address)
		}
	}
	// The part that is commented out is meant to be used.
	_, example, found := strings.Cut(string(Starter("https://127.0.0.1:8200")), "# mfa_method")
	if !found {
		t.Fatal("the starter file has no example of a method")
	}
	src := minimal + "mfa_method" + strings.ReplaceAll(strings.ReplaceAll(example, "\n# ", "\n"), "\n#", "\n")
	cfg, diags := Parse("stepup.hcl", []byte(src), fixed())
	if len(diags.All()) > 0 {
		t.Fatal(report(t, diags))
	}
	if len(cfg.Rules) != 1 || len(cfg.Methods) != 1 {
		t.Errorf("the example in the starter file has %d rules and %d methods", len(cfg.Rules), len(cfg.Methods))
	}
}

// An address comes from a command line.
func TestStarterAddressIsText(t *testing.T) {
	t.Parallel()
	_, diags := Parse("stepup.hcl", Starter("https://x\"\n}\naudit { file = \"/etc/x\" }\nvault \"y\" {\n z = \"${env.HIDDEN}"), fixed())
	for _, d := range diags.All() {
		if d.Subject.Start.Line != 6 {
			t.Errorf("the address became grammar:\n%s", report(t, diags))
		}
	}
	if !diags.HasErrors() {
		t.Error("loads")
	}
}

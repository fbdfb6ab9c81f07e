package config

import (
	"strings"
	"testing"
)

func TestStarter(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"https://vault.example:8200", "http://127.0.0.1:8200", "unix:///run/vault.sock"} {
		cfg, diags := Parse("stepup.hcl", Starter(address, nil, nil), fixed())
		if len(diags.All()) > 0 {
			t.Fatal(report(t, diags))
		}
		if cfg.Vaults[0].Address.String() != address {
			t.Errorf("Starter(%q) has the address %v", address, cfg.Vaults[0].Address)
		}
	}
	// The part that is commented out is meant to be used.
	_, example, found := strings.Cut(string(Starter("https://127.0.0.1:8200", nil, nil)), "# mfa_method")
	if !found {
		t.Fatal("the starter file has no example of a method")
	}
	src := minimal + "mfa_method" + strings.ReplaceAll(strings.ReplaceAll(example, "\n# ", "\n"), "\n#", "\n")
	cfg, diags := Parse("stepup.hcl", []byte(src), fixed())
	if len(diags.All()) > 0 {
		t.Fatal(report(t, diags))
	}
	if len(cfg.Rules) != 2 || len(cfg.Methods) != 1 || cfg.Rules[1].Grant.Scope != "terminal" {
		t.Errorf("the example in the starter file has %d rules and %d methods", len(cfg.Rules), len(cfg.Methods))
	}
}

// Arguments of the environment stand in the block, proposals are comments in a block of
// their own, and no text of either becomes grammar.
func TestStarterArguments(t *testing.T) {
	t.Parallel()
	const hostile = "a\" } audit { file = \"/etc/x\" } ${env.HIDDEN}%{if"
	text := Starter("https://vault.example:8200", []Argument{{"namespace", "team/a"}, {"tls_server_name", hostile}},
		[]Proposal{{"okta_mounts", []string{"auth/okta", "a\n" + hostile}, "shows the number to tap"}})
	cfg, diags := Parse("stepup.hcl", text, fixed())
	if len(diags.All()) > 0 {
		t.Fatal(report(t, diags))
	}
	if v := cfg.Vaults[0]; v.Namespace != "team/a" || v.ServerName != hostile || cfg.Audit.File != "" || len(cfg.LoginMFA.OktaMounts) > 0 {
		t.Errorf("%+v", cfg)
	}
	for _, gone := range []string{"# namespace", "ARGUMENTS", "PROPOSALS"} {
		if strings.Contains(string(text), gone) {
			t.Errorf("%s is left in\n%s", gone, text)
		}
	}
	if _, proposed, ok := strings.Cut(string(text), `  # okta_mounts = ["auth/okta", `); !ok || !strings.Contains(proposed, "# shows the number to tap\n}") {
		t.Errorf("no proposal in\n%s", text)
	}
}

// An address comes from a command line.
func TestStarterAddressIsText(t *testing.T) {
	t.Parallel()
	_, diags := Parse("stepup.hcl", Starter("https://x\"\n}\naudit { file = \"/etc/x\" }\nvault \"y\" {\n z = \"${env.HIDDEN}", nil, nil), fixed())
	for _, d := range diags.All() {
		if d.Subject.Start.Line != 6 {
			t.Errorf("the address became grammar:\n%s", report(t, diags))
		}
	}
	if !diags.HasErrors() {
		t.Error("loads")
	}
}

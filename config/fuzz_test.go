package config

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vault-stepup/stepup/agent"
)

// A file never panics; every diagnostic lies inside it; and what loads keeps
// the promises that the rest of the program builds on.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/broken/*.hcl")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "testdata/contract.hcl") {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Add(Starter("https://127.0.0.1:8200", nil, nil))
	f.Add([]byte(head + rulesWith("")))
	f.Fuzz(func(t *testing.T, src []byte) {
		cfg, diags := Parse("fuzz.hcl", src, fixed())
		if (cfg == nil) != diags.HasErrors() || (cfg == nil) != (diags.Err() != nil) {
			t.Fatalf("config %v with %v", cfg, diags.Err())
		}
		last := 0
		for _, d := range diags.All() {
			s := d.Subject
			if s == nil || s.Filename != "fuzz.hcl" || s.Start.Line < 1 || s.Start.Byte < last || s.End.Byte < s.Start.Byte || s.End.Byte > len(src) {
				t.Fatalf("%q is at %v, in %d bytes", d.Summary, s, len(src))
			}
			last = s.Start.Byte
		}
		var out bytes.Buffer
		if err := diags.Write(&out, 40, false); err != nil || bytes.ContainsAny(out.Bytes(), "\x1b\r\x00") {
			t.Fatalf("Write: %v, %q", err, out.String())
		}
		if cfg != nil {
			checkPromises(t, cfg)
		}
	})
}

func checkPromises(t *testing.T, cfg *agent.Config) {
	t.Helper()
	if len(cfg.Vaults) == 0 || len(cfg.Listeners) == 0 {
		t.Fatal("nothing to relay")
	}
	seen := map[string]bool{}
	for _, l := range cfg.Listeners {
		if !slices.ContainsFunc(cfg.Vaults, func(v agent.Vault) bool { return v.Name == l.Vault }) {
			t.Errorf("listener without vault: %+v", l)
		}
		addr, err := netip.ParseAddrPort(l.Address)
		loopback := l.Network == "tcp" && err == nil && addr.Addr().IsLoopback()
		socket := l.Network == "unix" && filepath.IsAbs(l.Address) && len(l.Address) <= 104
		if !loopback && !socket {
			t.Errorf("listener is open to others: %+v", l)
		}
		if seen[l.Network+l.Address] && addr.Port() != 0 {
			t.Errorf("two listeners on %s", l.Address)
		}
		seen[l.Network+l.Address] = true
	}
	for _, v := range cfg.Vaults {
		if v.Address == nil || v.Address.User != nil || v.Timeout <= 0 || v.MaxBody < 0 || (v.ClientCert == "") != (v.ClientKey == "") {
			t.Errorf("vault %+v", v)
		}
	}
	for _, r := range cfg.Rules {
		if len(r.Paths) == 0 || r.Grant.Kind == "" {
			t.Errorf("rule %+v", r)
		}
		for _, m := range r.Methods {
			if !slices.ContainsFunc(cfg.Methods, func(declared agent.Method) bool { return declared.Name == m }) {
				t.Errorf("rule %q names %q, which is not declared", r.Name, m)
			}
		}
	}
	p := cfg.Prompt
	if len(p.Use) == 0 || p.Timeout <= 0 || p.Attempts < 1 || p.Cooldown <= 0 || p.MaxPending < 1 || cfg.Cache.MaxTTL <= 0 {
		t.Errorf("%+v, %+v", p, cfg.Cache)
	}
}

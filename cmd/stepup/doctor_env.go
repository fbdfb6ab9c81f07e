package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/vaultcli"
)

// examineEnvironment looks at what this shell gives to Vault's clients. A value is
// shown only as far as it is an address without a user: they may hold secrets.
func (d *doctor) examineEnvironment(context.Context) []finding {
	listeners := d.knownListeners()
	all := slices.Concat(
		d.examineAddress(listeners),
		d.examineToken(),
		d.examineVaultProxy(listeners),
		d.examineLoopbackProxy(),
		d.examineTimeout(),
		d.examineEmptyBao(),
	)
	if len(all) == 0 {
		return []finding{pass("environment", "nothing stands in the way")}
	}
	return all
}

// knownListeners are the listeners of the agent that runs, else of the configuration.
func (d *doctor) knownListeners() []vaultcli.Listener {
	var all []vaultcli.Listener
	for _, l := range d.agent.Listeners {
		all = append(all, vaultcli.Listener{Network: l.Network, Address: l.Address})
	}
	if len(all) == 0 && d.config != nil {
		for _, l := range d.config.Listeners {
			all = append(all, vaultcli.Listener{Network: l.Network, Address: l.Address})
		}
	}
	return all
}

func anyServes(listeners []vaultcli.Listener, s vaultcli.Server) bool {
	return slices.ContainsFunc(listeners, func(l vaultcli.Listener) bool { return l.Serves(s) })
}

// examineAddress looks at where each CLI goes.
func (d *doctor) examineAddress(listeners []vaultcli.Listener) []finding {
	way := ""
	if len(listeners) > 0 {
		way = exportLine(listeners[0])
	}
	name, value := d.FirstEnv(vaultcli.Vault().Addresses)
	var all []finding
	if name == "" {
		f := warn("VAULT_ADDR", "not set: Vault's clients go to https://127.0.0.1:8200")
		if way != "" {
			f = f.with("%s", way)
		}
		all = append(all, f)
	} else {
		all = append(all, d.addressFinding(name, value, listeners, way))
	}
	if bao, value := d.FirstEnv([]string{"BAO_AGENT_ADDR", "BAO_ADDR"}); bao != "" {
		if f := d.addressFinding(bao, value, listeners, strings.Replace(way, "VAULT_ADDR", bao, 1)); f.Verdict != good {
			all = append(all, f)
		}
	}
	return all
}

func (d *doctor) addressFinding(name, value string, listeners []vaultcli.Listener, way string) finding {
	to, err := vaultcli.ParseServer(value)
	if err != nil {
		return fail(name, "is no address that Vault's clients can use").with("%s", way)
	}
	plain := to
	plain.Scheme = "http"
	switch {
	case anyServes(listeners, to):
		return pass(name, "leads to the agent: %s", to)
	case to.Scheme == "https" && anyServes(listeners, plain):
		return fail(name, "%s is the agent, which speaks plain http there", to).with("%s", way)
	case d.isVault(to):
		return warn(name, textDoctorPast, to).with("%s", way)
	case to.Local():
		return warn(name, "goes to %s, where no listener of the agent is", to).with("%s", way)
	}
	return warn(name, textDoctorPast, to).with("%s", way)
}

// isVault reports whether s is a Vault of the configuration itself.
func (d *doctor) isVault(s vaultcli.Server) bool {
	if d.config == nil {
		return false
	}
	for _, v := range d.config.Vaults {
		if of, err := vaultcli.ParseServer(v.Address.String()); err == nil && of == s {
			return true
		}
	}
	return false
}

func exportLine(l vaultcli.Listener) string {
	if l.Network == "unix" {
		return "export VAULT_ADDR=" + cli.ShellQuote("unix://"+l.Address)
	}
	return "export VAULT_ADDR=http://" + l.Address
}

// examineToken: a token in the environment is taken before any helper or file is
// asked, in all of Vault's clients.
func (d *doctor) examineToken() []finding {
	var all []finding
	for _, name := range []string{"VAULT_TOKEN", "BAO_TOKEN"} {
		if d.Env(name) == "" {
			continue
		}
		if kept := d.keptToken(); kept != "" {
			all = append(all, warn(name, "is set, so the token in %s is not used", kept).with("unset %s", name))
		}
	}
	return all
}

// keptToken says where `vault login` keeps its token, "" when it has kept none.
func (d *doctor) keptToken() string {
	if file, err := vaultcli.Vault().ConfigFile(d.Console); err == nil {
		if c, err := vaultcli.ReadConfig(file); err == nil && c.At >= 0 {
			return "the token helper"
		}
	}
	if home := d.Env("HOME"); home != "" {
		if _, err := os.Stat(filepath.Join(home, ".vault-token")); err == nil {
			return "~/.vault-token"
		}
	}
	return ""
}

// examineVaultProxy: VAULT_PROXY_ADDR is a forward proxy that every request of a
// client goes through, to loopback too; it is not the address of Vault Proxy.
func (d *doctor) examineVaultProxy(listeners []vaultcli.Listener) []finding {
	var all []finding
	for _, name := range []string{"VAULT_PROXY_ADDR", "VAULT_HTTP_PROXY", "BAO_PROXY_ADDR", "BAO_HTTP_PROXY"} {
		value := d.Env(name)
		if value == "" {
			continue
		}
		to, err := vaultcli.ParseServer(value)
		switch {
		case err != nil:
			all = append(all, fail(name, "is not the URL of a proxy").with("unset %s", name))
		case anyServes(listeners, to):
			all = append(all, fail(name, "names the agent, which is no forward proxy: every request through it is refused").with("unset %s; VAULT_ADDR is what leads to the agent", name))
		default:
			all = append(all, warn(name, "is a forward proxy for everything that Vault's clients send, to the agent too").with("set it for the agent alone (~/.config/environment.d) and unset %s here", name))
		}
	}
	return all
}

// examineLoopbackProxy: Go's clients never use these for loopback; curl, Python
// and others do.
func (d *doctor) examineLoopbackProxy() []finding {
	name, _ := d.FirstEnv([]string{"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"})
	if name == "" {
		return nil
	}
	_, except := d.FirstEnv([]string{"no_proxy", "NO_PROXY"})
	for entry := range strings.SplitSeq(except, ",") {
		entry = strings.TrimSpace(entry)
		_, network, err := net.ParseCIDR(entry)
		if entry == "*" || entry == "127.0.0.1" || err == nil && network.Contains(net.IPv4(127, 0, 0, 1)) {
			return nil
		}
	}
	return []finding{warn(name, "is set and NO_PROXY does not leave 127.0.0.1 out: curl, Python and others do not reach the agent").with(hintDoctorNoProxy)}
}

// The limits of VAULT_CLIENT_TIMEOUT. Ours ends a question after 55 s; a push
// takes 90 s at most.
const (
	clientDefault  = 60 * time.Second
	clientQuestion = 60 * time.Second
	clientPush     = 120 * time.Second
)

func (d *doctor) examineTimeout() []finding {
	name, value := d.FirstEnv([]string{"BAO_CLIENT_TIMEOUT", "VAULT_CLIENT_TIMEOUT"})
	limit := clientDefault
	if name == "" {
		name = "VAULT_CLIENT_TIMEOUT"
	} else {
		var err error
		if limit, err = parseTimeout(value); err != nil {
			return []finding{fail(name, "is no duration: Vault's clients fail").with(hintDoctorTimeoutSet, name)}
		}
	}
	if limit == 0 {
		limit = clientDefault // as those clients have it
	}
	switch {
	case limit < clientQuestion:
		return []finding{warn(name, "clients give up after %s, before you can answer", limit).with(hintDoctorTimeoutSet, name)}
	case limit < clientPush && d.pushes():
		return []finding{warn(name, "clients give up after %s, a push may take 90 s", limit).with(hintDoctorTimeoutSet, name)}
	}
	return nil
}

// parseTimeout reads what Vault's clients read: a duration, or seconds.
func parseTimeout(value string) (time.Duration, error) {
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(seconds) * time.Second, nil
	}
	return time.ParseDuration(value)
}

// pushes reports whether a method, or a login, may wait for a phone.
func (d *doctor) pushes() bool {
	if d.config == nil {
		return false
	}
	if len(d.config.LoginMFA.OktaMounts) > 0 || len(d.config.LoginMFA.LegacyMounts) > 0 {
		return true
	}
	for _, m := range settings(d.config, "", slog.New(slog.DiscardHandler)).Methods {
		if !m.UsesPasscode || m.OrPush {
			return true
		}
	}
	return false
}

// examineEmptyBao: OpenBao's CLI takes BAO_X where it is set, even to nothing, and
// does not look at VAULT_X then (api/env.go).
func (d *doctor) examineEmptyBao() []finding {
	var all []finding
	for _, x := range []string{"ADDR", "AGENT_ADDR", "TOKEN", "NAMESPACE", "CACERT", "CLIENT_TIMEOUT"} {
		bao, vault := "BAO_"+x, "VAULT_"+x
		if value, set := d.lookup(bao); set && value == "" && d.Env(vault) != "" {
			all = append(all, warn(bao, "is set, but empty: OpenBao's clients take that and not %s", vault).with("unset %s", bao))
		}
	}
	return all
}

// Its texts.
const (
	textDoctorPast       = "goes to %s, past the agent"
	hintDoctorNoProxy    = "export NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost"
	hintDoctorTimeoutSet = "export %s=120s"
)

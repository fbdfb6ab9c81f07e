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
)

// examineEnvironment looks at what this shell gives to Vault's clients. A value is
// shown only as far as it is an address without a user: they may hold secrets.
func (d *doctor) examineEnvironment(context.Context) []finding {
	doors := d.knownDoors()
	all := slices.Concat(
		d.examineAddress(doors),
		d.examineToken(),
		d.examineVaultProxy(doors),
		d.examineLoopbackProxy(),
		d.examineTimeout(),
		d.examineEmptyBao(),
	)
	if len(all) == 0 {
		return []finding{pass("environment", textDoctorEnvironment)}
	}
	return all
}

// knownDoors are the listeners of the agent that runs, else of the configuration.
func (d *doctor) knownDoors() []door {
	var all []door
	for _, l := range d.agent.Listeners {
		all = append(all, door{l.Network, l.Address, ""})
	}
	if len(all) == 0 && d.config != nil {
		for _, l := range d.config.Listeners {
			all = append(all, door{l.Network, l.Address, ""})
		}
	}
	return all
}

func opensDoor(doors []door, s server) bool {
	return slices.ContainsFunc(doors, func(d door) bool { return d.opensAt(s) })
}

// examineAddress looks at where each CLI goes.
func (d *doctor) examineAddress(doors []door) []finding {
	way := ""
	if len(doors) > 0 {
		way = exportLine(doors[0])
	}
	name, value := d.first(vaultCLI().addresses)
	var all []finding
	if name == "" {
		f := warn("VAULT_ADDR", textDoctorNoAddr)
		if way != "" {
			f = f.with("%s", way)
		}
		all = append(all, f)
	} else {
		all = append(all, d.addressFinding(name, value, doors, way))
	}
	if bao, value := d.first([]string{"BAO_AGENT_ADDR", "BAO_ADDR"}); bao != "" {
		if f := d.addressFinding(bao, value, doors, strings.Replace(way, "VAULT_ADDR", bao, 1)); f.Verdict != good {
			all = append(all, f)
		}
	}
	return all
}

func (d *doctor) addressFinding(name, value string, doors []door, way string) finding {
	to, err := parseServer(value)
	if err != nil {
		return fail(name, textDoctorBadAddr).with("%s", way)
	}
	plain := to
	plain.scheme = "http"
	switch {
	case opensDoor(doors, to):
		return pass(name, textDoctorAddr, to)
	case to.scheme == "https" && opensDoor(doors, plain):
		return fail(name, textDoctorHTTPS, to).with("%s", way)
	case d.isVault(to):
		return warn(name, textDoctorPast, to).with("%s", way)
	case to.local():
		return warn(name, textDoctorWrongDoor, to).with("%s", way)
	}
	return warn(name, textDoctorPast, to).with("%s", way)
}

// isVault reports whether s is a Vault of the configuration itself.
func (d *doctor) isVault(s server) bool {
	if d.config == nil {
		return false
	}
	for _, v := range d.config.Vaults {
		if of, err := parseServer(v.Address.String()); err == nil && of == s {
			return true
		}
	}
	return false
}

func exportLine(d door) string {
	if d.network == "unix" {
		return "export VAULT_ADDR=" + shellQuote("unix://"+d.address)
	}
	return "export VAULT_ADDR=http://" + d.address
}

// examineToken: a token in the environment is taken before any helper or file is
// asked, in all of Vault's clients.
func (d *doctor) examineToken() []finding {
	var all []finding
	for _, name := range []string{"VAULT_TOKEN", "BAO_TOKEN"} {
		if d.env(name) == "" {
			continue
		}
		if kept := d.keptToken(); kept != "" {
			all = append(all, warn(name, textDoctorToken, kept).with("unset %s", name))
		}
	}
	return all
}

// keptToken says where `vault login` keeps its token, "" when it has kept none.
func (d *doctor) keptToken() string {
	if file, err := d.helperFile(vaultCLI()); err == nil {
		if c, err := readHelperFile(file); err == nil && c.at >= 0 {
			return textDoctorHelper
		}
	}
	if home := d.env("HOME"); home != "" {
		if _, err := os.Stat(filepath.Join(home, ".vault-token")); err == nil {
			return "~/.vault-token"
		}
	}
	return ""
}

// examineVaultProxy: VAULT_PROXY_ADDR is a forward proxy that every request of a
// client goes through, to loopback too; it is not the address of Vault Proxy.
func (d *doctor) examineVaultProxy(doors []door) []finding {
	var all []finding
	for _, name := range []string{"VAULT_PROXY_ADDR", "VAULT_HTTP_PROXY", "BAO_PROXY_ADDR", "BAO_HTTP_PROXY"} {
		value := d.env(name)
		if value == "" {
			continue
		}
		to, err := parseServer(value)
		switch {
		case err != nil:
			all = append(all, fail(name, textDoctorBadProxy).with("unset %s", name))
		case opensDoor(doors, to):
			all = append(all, fail(name, textDoctorProxyUs).with(hintDoctorProxyUs, name))
		default:
			all = append(all, warn(name, textDoctorProxy).with(hintDoctorProxy, name))
		}
	}
	return all
}

// examineLoopbackProxy: Go's clients never use these for loopback; curl, Python
// and others do.
func (d *doctor) examineLoopbackProxy() []finding {
	name, _ := d.first([]string{"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"})
	if name == "" {
		return nil
	}
	_, except := d.first([]string{"no_proxy", "NO_PROXY"})
	for entry := range strings.SplitSeq(except, ",") {
		entry = strings.TrimSpace(entry)
		_, network, err := net.ParseCIDR(entry)
		if entry == "*" || entry == "127.0.0.1" || err == nil && network.Contains(net.IPv4(127, 0, 0, 1)) {
			return nil
		}
	}
	return []finding{warn(name, textDoctorHTTPProxy).with(hintDoctorNoProxy)}
}

// The limits of VAULT_CLIENT_TIMEOUT. Ours ends a question after 55 s; a push
// takes 90 s at most.
const (
	clientDefault  = 60 * time.Second
	clientQuestion = 60 * time.Second
	clientPush     = 120 * time.Second
)

func (d *doctor) examineTimeout() []finding {
	name, value := d.first([]string{"BAO_CLIENT_TIMEOUT", "VAULT_CLIENT_TIMEOUT"})
	limit := clientDefault
	if name == "" {
		name = "VAULT_CLIENT_TIMEOUT"
	} else {
		var err error
		if limit, err = parseTimeout(value); err != nil {
			return []finding{fail(name, textDoctorBadTimeout).with(hintDoctorTimeoutSet, name)}
		}
	}
	if limit == 0 {
		limit = clientDefault // as those clients have it
	}
	switch {
	case limit < clientQuestion:
		return []finding{warn(name, textDoctorShort, limit).with(hintDoctorTimeoutSet, name)}
	case limit < clientPush && d.pushes():
		return []finding{warn(name, textDoctorPush, limit).with(hintDoctorTimeoutSet, name)}
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
		if value, set := d.lookup(bao); set && value == "" && d.env(vault) != "" {
			all = append(all, warn(bao, textDoctorEmpty, vault).with("unset %s", bao))
		}
	}
	return all
}

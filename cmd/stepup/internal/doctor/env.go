package doctor

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/setup"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/vaultcli"
	"github.com/vault-stepup/stepup/config"
)

// An environment is what this shell gives to Vault's clients.
type environment struct {
	*cli.Console
	lookup func(string) (string, bool) // tells a variable that is empty from one that is not set
	config *config.Config              // nil where it cannot be used
	served []control.Listener          // of the agent that runs
}

// check looks at what this shell gives to Vault's clients. A value is
// shown only as far as it is an address without a user: they may hold secrets.
func (e *environment) check() []finding {
	listeners := e.knownListeners()
	all := slices.Concat(
		e.checkAddress(listeners),
		e.checkToken(),
		e.checkVaultProxy(listeners),
		e.checkLoopbackProxy(),
		e.checkTimeout(),
		e.checkEmptyBao(),
	)
	if len(all) == 0 {
		return []finding{pass("environment", "nothing stands in the way")}
	}
	return all
}

// knownListeners are the listeners of the agent that runs, else of the configuration.
func (e *environment) knownListeners() []vaultcli.Listener {
	var all []vaultcli.Listener
	for _, l := range e.served {
		all = append(all, vaultcli.Listener{Network: l.Network, Address: l.Address})
	}
	if len(all) == 0 && e.config != nil {
		for _, l := range e.config.Listeners {
			all = append(all, vaultcli.Listener{Network: l.Network, Address: l.Address})
		}
	}
	return all
}

func anyServes(listeners []vaultcli.Listener, s vaultcli.Server) bool {
	return slices.ContainsFunc(listeners, func(l vaultcli.Listener) bool { return l.Serves(s) })
}

// checkAddress looks at where each CLI goes.
func (e *environment) checkAddress(listeners []vaultcli.Listener) []finding {
	export := ""
	if len(listeners) > 0 {
		export = exportLine(listeners[0])
	}
	name, value := e.FirstEnv(vaultcli.Vault().Addresses)
	var all []finding
	if name == "" {
		f := warn("VAULT_ADDR", "not set: Vault's clients go to https://127.0.0.1:8200")
		if export != "" {
			f = f.with("%s", export)
		}
		all = append(all, f)
	} else {
		all = append(all, e.addressFinding(name, value, listeners, export))
	}
	if bao, value := e.FirstEnv([]string{"BAO_AGENT_ADDR", "BAO_ADDR"}); bao != "" {
		if f := e.addressFinding(bao, value, listeners, strings.Replace(export, "VAULT_ADDR", bao, 1)); f.Verdict != good {
			all = append(all, f)
		}
	}
	return all
}

func (e *environment) addressFinding(name, value string, listeners []vaultcli.Listener, export string) finding {
	to, err := vaultcli.ParseServer(value)
	if err != nil {
		return fail(name, "is no address that Vault's clients can use").with("%s", export)
	}
	plain := to
	plain.Scheme = "http"
	switch {
	case anyServes(listeners, to):
		return pass(name, "leads to the agent: %s", to)
	case to.Scheme == "https" && anyServes(listeners, plain):
		return fail(name, "%s is the agent, which speaks plain http there", to).with("%s", export)
	case e.isVault(to):
		return warn(name, textPast, to).with("%s", export)
	case to.Local():
		return warn(name, "goes to %s, where no listener of the agent is", to).with("%s", export)
	}
	return warn(name, textPast, to).with("%s", export)
}

// isVault reports whether s is a Vault of the configuration itself.
func (e *environment) isVault(s vaultcli.Server) bool {
	if e.config == nil {
		return false
	}
	for _, v := range e.config.Vaults {
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

// checkToken: a token in the environment is taken before any helper or file is
// asked, in all of Vault's clients.
func (e *environment) checkToken() []finding {
	var all []finding
	for _, name := range []string{"VAULT_TOKEN", "BAO_TOKEN"} {
		if e.Env(name) == "" {
			continue
		}
		if kept := e.keptToken(); kept != "" {
			all = append(all, warn(name, "is set, so the token in %s is not used", kept).with("unset %s", name))
		}
	}
	return all
}

// keptToken says where `vault login` keeps its token, "" when it has kept none.
func (e *environment) keptToken() string {
	if file, err := vaultcli.Vault().ConfigFile(e.Console); err == nil {
		if c, err := vaultcli.ReadConfig(file); err == nil && c.At >= 0 {
			return "the token helper"
		}
	}
	if home := e.Env("HOME"); home != "" {
		if _, err := os.Stat(filepath.Join(home, ".vault-token")); err == nil {
			return "~/.vault-token"
		}
	}
	return ""
}

// checkVaultProxy: VAULT_PROXY_ADDR is a forward proxy that every request of a
// client goes through, to loopback too; it is not the address of Vault Proxy.
func (e *environment) checkVaultProxy(listeners []vaultcli.Listener) []finding {
	var all []finding
	for _, name := range []string{"VAULT_PROXY_ADDR", "VAULT_HTTP_PROXY", "BAO_PROXY_ADDR", "BAO_HTTP_PROXY"} {
		value := e.Env(name)
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
			all = append(all, warn(name, "is a forward proxy for everything that Vault's clients send, to the agent too").
				with("set it for the agent alone (~/.config/environment.d) and unset %s here", name))
		}
	}
	return all
}

// checkLoopbackProxy: Go's clients never use these for loopback; curl, Python
// and others do.
func (e *environment) checkLoopbackProxy() []finding {
	name, _ := e.FirstEnv([]string{"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"})
	if name == "" {
		return nil
	}
	_, except := e.FirstEnv([]string{"no_proxy", "NO_PROXY"})
	for entry := range strings.SplitSeq(except, ",") {
		entry = strings.TrimSpace(entry)
		_, network, err := net.ParseCIDR(entry)
		if entry == "*" || entry == "127.0.0.1" || err == nil && network.Contains(net.IPv4(127, 0, 0, 1)) {
			return nil
		}
	}
	return []finding{warn(name, "is set and NO_PROXY does not leave 127.0.0.1 out: curl, Python and others do not reach the agent").with(hintNoProxy)}
}

// The limits of VAULT_CLIENT_TIMEOUT. Ours ends a question after 55 s; a push
// takes 90 s at most.
const (
	clientDefault  = 60 * time.Second
	clientQuestion = 60 * time.Second
	clientPush     = 120 * time.Second
)

func (e *environment) checkTimeout() []finding {
	name, value := e.FirstEnv([]string{"BAO_CLIENT_TIMEOUT", "VAULT_CLIENT_TIMEOUT"})
	limit := clientDefault
	if name == "" {
		name = "VAULT_CLIENT_TIMEOUT"
	} else {
		var err error
		if limit, err = parseTimeout(value); err != nil {
			return []finding{fail(name, "is no duration: Vault's clients fail").with(hintTimeoutSet, name)}
		}
	}
	if limit == 0 {
		limit = clientDefault // as those clients have it
	}
	switch {
	case limit < clientQuestion:
		return []finding{warn(name, "clients give up after %s, before you can answer", limit).with(hintTimeoutSet, name)}
	case limit < clientPush && e.pushes():
		return []finding{warn(name, "clients give up after %s, a push may take 90 s", limit).with(hintTimeoutSet, name)}
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
func (e *environment) pushes() bool {
	if e.config == nil {
		return false
	}
	if len(e.config.LoginMFA.OktaMounts) > 0 || len(e.config.LoginMFA.LegacyMounts) > 0 {
		return true
	}
	for _, m := range setup.Agent(e.config, "", slog.New(slog.DiscardHandler)).Methods {
		if !m.UsesPasscode || m.OrPush {
			return true
		}
	}
	return false
}

// checkEmptyBao: OpenBao's CLI takes BAO_X where it is set, even to nothing, and
// does not look at VAULT_X then (api/env.go).
func (e *environment) checkEmptyBao() []finding {
	var all []finding
	for _, x := range []string{"ADDR", "AGENT_ADDR", "TOKEN", "NAMESPACE", "CACERT", "CLIENT_TIMEOUT"} {
		bao, vault := "BAO_"+x, "VAULT_"+x
		if value, set := e.lookup(bao); set && value == "" && e.Env(vault) != "" {
			all = append(all, warn(bao, "is set, but empty: OpenBao's clients take that and not %s", vault).with("unset %s", bao))
		}
	}
	return all
}

// Texts of several places.
const (
	textPast       = "goes to %s, past the agent"
	hintNoProxy    = "export NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost"
	hintTimeoutSet = "export %s=120s"
)

package doctor

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/vaultcli"
)

func checkEnvironment(d *doctor, f findings) {
	e := &environment{Console: d.Console, found: f, lookup: os.LookupEnv, hides: hides, config: d.config, listeners: vaultcli.RunningListeners(d.agent)}
	if len(e.listeners) == 0 && d.config != nil {
		e.listeners = vaultcli.ConfiguredListeners(d.config)
	}
	e.check()
}

// An environment is what this shell gives to Vault's clients.
type environment struct {
	*cli.Console
	found     findings
	lookup    func(string) (string, bool) // tells a variable that is empty from one that is not set
	hides     func(program string) bool   // its process hides
	config    *agent.Config               // nil where it cannot be used
	listeners []vaultcli.Listener         // of the agent that runs, else of the configuration
}

// check shows a value only as far as it is an address without a user: it may hold
// secrets.
func (e *environment) check() {
	e.checkAddresses()
	e.checkToken()
	e.checkVaultProxy()
	e.checkLoopbackProxy()
	e.checkTimeout()
	e.checkEmptyBao()
	e.checkHidden()
	if len(*e.found.all) == 0 {
		e.found.pass("nothing stands in the way")
	}
}

// leadsToAgent reports whether a client that is told s arrives at the agent.
func (e *environment) leadsToAgent(s vaultcli.Server) bool {
	return slices.ContainsFunc(e.listeners, func(l vaultcli.Listener) bool { return l.Serves(s) })
}

// checkAddresses looks at where each CLI goes.
func (e *environment) checkAddresses() {
	name, value := e.FirstEnv(vaultcli.Vault().Addresses)
	bao, _ := e.FirstEnv([]string{"BAO_AGENT_ADDR", "BAO_ADDR"})
	switch {
	case name != "":
		e.checkAddress(name, value)
	case bao == "":
		name = "VAULT_ADDR"
		e.found.about(name).warn("not set: Vault's clients go to https://127.0.0.1:8200").with("%s", e.export(name))
	}
	for _, other := range []string{bao, "ANSIBLE_HASHI_VAULT_ADDR"} {
		value = e.Env(other)
		to, err := vaultcli.ParseServer(value)
		// What leads to the agent as well is not said twice.
		if value != "" && (err != nil || !e.leadsToAgent(to) || other == bao && name == "") {
			e.checkAddress(other, value)
		}
	}
}

func (e *environment) checkAddress(name, value string) {
	f := e.found.about(name)
	to, err := vaultcli.ParseServer(value)
	plain := to
	plain.Scheme = "http"
	switch {
	case err != nil:
		f = f.fail("is no address that Vault's clients can use")
	case e.leadsToAgent(to):
		f.pass("leads to the agent: %s", to)
		return
	case to.Scheme == "https" && e.leadsToAgent(plain):
		f = f.fail("%s is the agent, which speaks plain http there", to)
	case to.Local() && !e.isVault(to):
		f = f.warn("goes to %s, where no listener of the agent is", to)
	default:
		f = f.warn("goes to %s, past the agent", to)
	}
	f.with("%s", e.export(strings.Replace(name, "VAULT_AGENT_ADDR", "VAULT_ADDR", 1)))
}

// isVault reports whether s is a Vault of the configuration itself.
func (e *environment) isVault(s vaultcli.Server) bool {
	return e.config != nil && slices.ContainsFunc(e.config.Vaults, func(v agent.Vault) bool {
		address, err := vaultcli.ParseServer(v.Address.String())
		return err == nil && address == s
	})
}

// export is the command that leads clients to the agent; "" where it has no listener.
func (e *environment) export(name string) string {
	switch {
	case len(e.listeners) == 0:
		return ""
	case e.listeners[0].Network == "unix":
		return "export " + name + "=" + cli.ShellQuote("unix://"+e.listeners[0].Address)
	}
	return "export " + name + "=http://" + e.listeners[0].Address
}

// checkToken: a token in the environment is taken before any helper or file is
// asked, in all of Vault's clients.
func (e *environment) checkToken() {
	for _, f := range []vaultcli.CLI{vaultcli.Vault(), vaultcli.OpenBao()} {
		name := strings.ToUpper(f.Name) + "_TOKEN"
		if kept := e.keptToken(f); e.Env(name) != "" && kept != "" {
			e.found.about(name).warn("is set, so the token in %s is not used", kept).with("unset %s", name)
		}
	}
}

// keptToken says where the login of a CLI keeps its token, "" when it has kept none.
func (e *environment) keptToken(f vaultcli.CLI) string {
	if c, err := f.ReadConfig(e.Console); err == nil && c.At >= 0 {
		return "the token helper"
	}
	if vaultcli.HasTokenFile(e.Env) {
		return "~/.vault-token"
	}
	return ""
}

// checkVaultProxy: VAULT_PROXY_ADDR is a forward proxy that every request of a
// client goes through, to loopback too; it is not the address of Vault Proxy.
func (e *environment) checkVaultProxy() {
	for _, name := range []string{"VAULT_PROXY_ADDR", "VAULT_HTTP_PROXY", "BAO_PROXY_ADDR", "BAO_HTTP_PROXY"} {
		value := e.Env(name)
		if value == "" {
			continue
		}
		f := e.found.about(name)
		to, err := vaultcli.ParseServer(value)
		switch {
		case err != nil:
			f.fail("is not the URL of a proxy").with("unset %s", name)
		case e.leadsToAgent(to):
			f.fail("names the agent, which is no forward proxy: every request through it is refused").with("unset %s; VAULT_ADDR is what leads to the agent", name)
		default:
			f.warn("is a forward proxy for everything that Vault's clients send, to the agent too").
				with("set it for the agent alone (~/.config/environment.d) and unset %s here", name)
		}
	}
}

// checkLoopbackProxy: Go's clients never use these for loopback; curl, Python
// and others do.
func (e *environment) checkLoopbackProxy() {
	name, _ := e.FirstEnv([]string{"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"})
	if name == "" {
		return
	}
	const hint = "export NO_PROXY=127.0.0.1,localhost,::1 no_proxy=127.0.0.1,localhost,::1"
	switch f := e.found.about(name); e.leftOut() {
	case exceptNever:
		f.warn("is set and NO_PROXY does not leave 127.0.0.1 out: curl, Python, Node and others send your Vault token to that proxy").with(hint)
	case exceptAsNetwork:
		f.warn("is set and NO_PROXY leaves 127.0.0.1 out as part of a network only: vault-api, node-vault-client and others read no networks there and send your Vault token to that proxy").with(hint)
	}
}

// An exception is how far NO_PROXY leaves the agent out.
type exception int

const (
	exceptNever exception = iota
	exceptAsNetwork
	exceptAlways
)

// leftOut is the weaker of the two variables: some clients read the one, some the other.
func (e *environment) leftOut() exception {
	weakest, set := exceptAlways, false
	for _, name := range []string{"no_proxy", "NO_PROXY"} {
		if list := e.Env(name); list != "" {
			weakest, set = min(weakest, exceptionOf(list)), true
		}
	}
	if !set {
		return exceptNever
	}
	return weakest
}

func exceptionOf(list string) exception {
	found := exceptNever
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "*" || entry == "127.0.0.1" {
			return exceptAlways
		}
		if _, network, err := net.ParseCIDR(entry); err == nil && network.Contains(net.IPv4(127, 0, 0, 1)) {
			found = exceptAsNetwork
		}
	}
	return found
}

// checkTimeout looks at VAULT_CLIENT_TIMEOUT. Ours ends a question after 55 s; a push
// takes 90 s at most.
func (e *environment) checkTimeout() {
	const standard, question, push = 60 * time.Second, 60 * time.Second, 120 * time.Second
	const hint = "export %s=120s"
	name, value := e.FirstEnv([]string{"BAO_CLIENT_TIMEOUT", "VAULT_CLIENT_TIMEOUT"})
	name = cmp.Or(name, "VAULT_CLIENT_TIMEOUT")
	limit, err := vaultcli.ParseTimeout(cmp.Or(value, "0"))
	limit = cmp.Or(limit, standard) // as those clients have it
	switch f := e.found.about(name); {
	case err != nil:
		f.fail("is no duration: Vault's clients fail").with(hint, name)
	case limit < question:
		f.warn("clients give up after %s, before you can answer", limit).with(hint, name)
	case limit < push && e.pushes():
		f.warn("clients give up after %s, a push may take 90 s", limit).with(hint, name)
	}
}

// pushes reports whether a method, or a login, may wait for a phone.
func (e *environment) pushes() bool {
	if e.config == nil {
		return false
	}
	if len(e.config.LoginMFA.OktaMounts) > 0 || len(e.config.LoginMFA.LegacyMounts) > 0 {
		return true
	}
	return slices.ContainsFunc(e.config.Methods, agent.Method.Pushes)
}

// checkEmptyBao: OpenBao's CLI takes BAO_X where it is set, even to nothing, and
// does not look at VAULT_X then (api/env.go).
func (e *environment) checkEmptyBao() {
	for _, x := range []string{"ADDR", "AGENT_ADDR", "TOKEN", "NAMESPACE", "CACERT", "CLIENT_TIMEOUT"} {
		bao, vault := "BAO_"+x, "VAULT_"+x
		if value, set := e.lookup(bao); set && value == "" && e.Env(vault) != "" {
			e.found.about(bao).warn("is set, but empty: OpenBao's clients take that and not %s", vault).with("unset %s", bao)
		}
	}
}

// hides reports whether the process of a program in PATH hides.
func hides(program string) bool {
	file, err := exec.LookPath(program)
	return err == nil && peer.HidesProcess(file)
}

// checkHidden looks for programs that the agent cannot tell from others over TCP. HashiCorp's
// packages run setcap when they are installed first (.release/linux/postinst), for servers.
func (e *environment) checkHidden() {
	unix := slices.IndexFunc(e.listeners, func(l vaultcli.Listener) bool { return l.Network == "unix" })
	for _, c := range []vaultcli.CLI{vaultcli.Vault(), vaultcli.OpenBao()} {
		name, value := e.FirstEnv(c.Addresses)
		to, err := vaultcli.ParseServer(value)
		// Where it is not set, stepup exec leads to the first listener.
		overTCP := name == "" && unix != 0 && len(e.listeners) > 0 || err == nil && to.Scheme == "http" && e.leadsToAgent(to)
		if !overTCP || !e.hides(c.Name) {
			continue
		}
		hint := fmt.Sprintf("`sudo setcap -r $(readlink -f $(command -v %s))`: only a server needs it", c.Name)
		if unix >= 0 {
			hint = fmt.Sprintf("export %s=%s, or %s", cmp.Or(name, "VAULT_ADDR"), cli.ShellQuote("unix://"+e.listeners[unix].Address), hint)
		}
		e.found.about(c.Name).warn("its file has a capability, so its process hides: over TCP no question can name it, and a step-up for one terminal or program does not last").with("%s", hint)
	}
}

package exec

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/vaultcli"
)

// leastTimeout is what a client must wait at least: longer than a person is
// asked, and than a phone takes to be picked up.
const leastTimeout = 120 * time.Second

// run starts the command and waits for it. The command is in our process group,
// so that what is typed as a signal reaches it without us; the other signals are
// passed on.
func (x *execution) run() error {
	x.cmd.Env = x.environ(os.Environ())
	start := func() error { return x.signals.start(x.cmd) }
	if x.Unprotected != nil {
		protected := start
		start = func() error { return x.Unprotected(protected) }
	}
	if err := start(); err != nil {
		return cannotRun(x.cmd.Args[0], err)
	}
	err := x.cmd.Wait()
	x.signals.ended()
	x.tellLeftBehind()
	if x.cmd.ProcessState == nil {
		return err
	}
	if code := exitCode(x.cmd.ProcessState); code != 0 {
		return &cli.Error{Err: cli.ErrReported, Code: code}
	}
	return nil
}

// environ is the environment of the command: ours, with the agent in the place
// of Vault.
func (x *execution) environ(base []string) []string {
	set := map[string]string{
		"VAULT_ADDR": x.address, "VAULT_AGENT_ADDR": x.address,
		// OpenBao reads these first.
		"BAO_ADDR": x.address, "BAO_AGENT_ADDR": x.address,
		"VAULT_CLIENT_TIMEOUT": clientTimeout(x.Env("VAULT_CLIENT_TIMEOUT")),
	}
	if bao := x.Env("BAO_CLIENT_TIMEOUT"); bao != "" {
		set["BAO_CLIENT_TIMEOUT"] = clientTimeout(bao)
	}
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		// Clients in Python, Node and curl would send the Vault token to the proxy of
		// http_proxy, in the clear.
		set[name] = withoutProxy(cmp.Or(x.Env(name), x.Env("NO_PROXY"), x.Env("no_proxy")))
	}
	if x.kept != "" {
		set["VAULT_TOKEN"] = x.kept.Reveal()
	}
	if x.own {
		set["STEPUP_RUNTIME_DIR"] = x.runtimeDir // stepup status in the command shows our agent
	}
	if x.asker != 0 {
		set[attachedEnv] = attachedValue(x.asker, x.runtimeDir)
	}
	// A proxy on the way to Vault is not on the way to us.
	drop := []string{"VAULT_PROXY_ADDR", "VAULT_HTTP_PROXY", "BAO_PROXY_ADDR", "BAO_HTTP_PROXY", attachedEnv}
	env := slices.DeleteFunc(slices.Clone(base), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		_, replaced := set[name]
		return replaced || slices.Contains(drop, name)
	})
	for name, value := range set {
		env = append(env, name+"="+value)
	}
	slices.Sort(env[len(env)-len(set):])
	return env
}

// warnPastAgent says which of the command's clients would not have gone, or do not go,
// to the agent: those with a variable of their own.
func (x *execution) warnPastAgent(ctx context.Context) {
	// It beats VAULT_ADDR in every plugin of community.hashi_vault.
	if ansible := x.Env("ANSIBLE_HASHI_VAULT_ADDR"); ansible != "" && !x.leadsToAgent(ctx, ansible) {
		x.Notify("stepup: ANSIBLE_HASHI_VAULT_ADDR leads Ansible to %s, past the agent", shownServer(ansible))
		x.Hint("unset ANSIBLE_HASHI_VAULT_ADDR: without it Ansible takes VAULT_ADDR, which leads to the agent")
	}
	name, bao := x.FirstEnv([]string{"BAO_AGENT_ADDR", "BAO_ADDR"})
	if bao != "" && bao != x.Env("VAULT_ADDR") && !x.leadsToAgent(ctx, bao) && !x.isVault(ctx, bao) {
		x.Notify("stepup: %s was %s; in this command it leads to the agent, and so to the vault %s", name, shownServer(bao), cli.Printable(x.vaultName))
	}
}

// shownServer is an address without a user or password.
func shownServer(address string) string {
	server, err := vaultcli.ParseServer(address)
	if err != nil {
		return "something that is no address"
	}
	return cli.Printable(server.String())
}

// leadsToAgent reports whether a client that is told address arrives at the agent.
func (x *execution) leadsToAgent(ctx context.Context, address string) bool {
	server, err := vaultcli.ParseServer(address)
	if err != nil {
		return false
	}
	listeners, err := x.client.Listeners(ctx)
	return err != nil || slices.ContainsFunc(listeners, func(l control.Listener) bool {
		return vaultcli.Listener{Network: l.Network, Address: l.Address}.Serves(server)
	})
}

// isVault reports whether address is that of the Vault behind the agent; it is true
// where the agent does not say.
func (x *execution) isVault(ctx context.Context, address string) bool {
	server, err := vaultcli.ParseServer(address)
	if err != nil {
		return false
	}
	s, err := x.client.Status(ctx)
	return err != nil || slices.ContainsFunc(s.Vaults, func(v control.Vault) bool {
		behind, err := vaultcli.ParseServer(v.Address)
		return err == nil && v.Name == x.vaultName && behind == server
	})
}

// withoutProxy is a list for NO_PROXY with the addresses of the agent. Not all clients know
// networks such as 127.0.0.0/8.
func withoutProxy(list string) string {
	entries := strings.Split(list, ",")
	for i := range entries {
		entries[i] = strings.TrimSpace(entries[i])
	}
	entries = slices.DeleteFunc(entries, func(entry string) bool { return entry == "" })
	for _, own := range []string{"127.0.0.1", "localhost", "::1"} {
		if !slices.Contains(entries, own) && !slices.Contains(entries, "*") {
			entries = append(entries, own)
		}
	}
	return strings.Join(entries, ",")
}

// clientTimeout raises a VAULT_CLIENT_TIMEOUT, which is a number of seconds or a
// duration; zero is the client's own 60 s. What is neither stays for the client
// to complain about.
func clientTimeout(value string) string {
	least := fmt.Sprintf("%.0fs", leastTimeout.Seconds())
	value = strings.TrimSpace(value)
	if value == "" {
		return least
	}
	if d, err := vaultcli.ParseTimeout(value); err == nil && d < leastTimeout {
		return least
	}
	return value
}

func attachedValue(pid int, dir string) string { return strconv.Itoa(pid) + ":" + dir }

func parseAttached(value string) (pid int, dir string, ok bool) {
	first, dir, ok := strings.Cut(value, ":")
	pid, err := strconv.Atoi(first)
	return pid, dir, ok && err == nil && pid > 1
}

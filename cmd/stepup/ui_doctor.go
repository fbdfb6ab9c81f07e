package main

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/vault-stepup/stepup/agent/peer"
)

// The words of stepup doctor. The rules are those of ui.go: a finding says what
// is, its hint what to do.

const (
	textDoctor     = "check what stepup needs, with the fix for what is missing"
	textDoctorTest = "also show a test question in each place where you may be asked, and wait for your answer"
	textDoctorLong = `Looks at everything that stepup needs, with an agent running or not, and prints a
line for each: ok, warn (it works, but not as you may think, or not for long) or
fail, and how to put it right:

  config       the file, and who else could change it
  agent        whether one runs, and which version
  service      whether your session starts it
  listener     whether the address is the agent's, free, or taken by somebody
  vault        name, connection, certificates, seal, version and clock
  keyring      whether it can be used
  desktop      what you could be asked with; --test-prompt asks
  environment  what this shell tells Vault's clients

It changes nothing, sends no token and shows none. Exits with 1 if anything has
failed.`

	textDoctorLate  = "has not ended within %s"
	textDoctorLeft  = "not looked at: interrupted"
	textDoctorFiles = "only you can change them"
)

// findingText is one finding for people.
func findingText(f finding) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-4s  %s: %s\n", f.Verdict, f.What, f.Finding)
	if f.Hint != "" {
		fmt.Fprintf(&b, "      hint: %s\n", f.Hint)
	}
	return b.String()
}

// Configuration and files.
const (
	textDoctorUnread   = "not looked at, as the configuration cannot be used"
	textDoctorNoModes  = "not looked at: on this system access lists say who may do what"
	textDoctorOwner    = "%s belongs to user %d"
	textDoctorReadable = "other users may read %s"
	textDoctorNoFolder = "%s is not a folder"
	textDoctorAudit    = "the audit log cannot be written: %v"

	textDoctorChangeable = "another user could change what stepup trusts: %v"

	hintDoctorConfig   = "`stepup config check` shows the place"
	hintDoctorInit     = "`stepup config init --address https://vault.example.com:8200` writes one"
	hintDoctorReadable = "chmod go= %s"
	hintDoctorRuntime  = "set STEPUP_RUNTIME_DIR to a folder of your own"
	hintDoctorAudit    = "`stepup status` says since when, and what is missing"
)

// The agent and its service.
const (
	textDoctorAgent      = "stepup %s runs, pid %d"
	textDoctorVersion    = "stepup %s runs, pid %d, but this program is %s"
	textDoctorNoAgent    = "none is running in %s"
	textDoctorElsewhere  = "the service runs, pid %d, but not in the runtime folder of this shell, %s"
	textDoctorMute       = "does not answer: %v"
	textDoctorReload     = "the last reload failed, the configuration from before is in force: %s"
	textDoctorOtherFile  = "it uses %s, this shell %s"
	textDoctorAsksNobody = "nobody is asked: no prompter is configured and no terminal is attached"
	textDoctorService    = "runs, pid %d"
	textDoctorGone       = "starts %s, which is not there any more"
	textDoctorOther      = "starts %s, this program is %s"
	textDoctorOutdated   = "its files have changed since they were read"
	textDoctorSockets    = "holds other addresses than the configuration has: %s is missing"

	hintDoctorNoAgent     = "`stepup service install` starts it with your session, `stepup agent` in this terminal"
	hintDoctorElsewhere   = "XDG_RUNTIME_DIR or STEPUP_RUNTIME_DIR is another here than for the service; log in anew, or `stepup service install` again"
	hintDoctorMute        = "stop it and start it again"
	hintDoctorRestart     = "start it again: `stepup service install`, or ctrl-c and `stepup agent` where it runs in a terminal"
	hintDoctorOtherFile   = "set STEPUP_CONFIG to that file, or start the agent again"
	hintDoctorAttach      = "`stepup attach` answers on this terminal"
	hintDoctorInstall     = "`stepup service install` starts the agent when you log in"
	hintDoctorReinstall   = "`stepup service install` again"
	hintDoctorReloadUnits = "`systemctl --user daemon-reload`"
)

// hintDoctorStart is for a service that is installed and does not run.
func hintDoctorStart(manager string) string {
	if manager == managerLaunchd {
		return "`stepup service install` starts it"
	}
	return "`systemctl --user start stepup.service` starts it"
}

func hintDoctorFailed(manager string) string {
	if manager == managerLaunchd {
		return "~/Library/Logs/stepup.log says why, `stepup service install` tries again"
	}
	return "`journalctl --user -u stepup.service -u stepup.socket -n 30` says why, `stepup service install` tries again"
}

// Listeners.
const (
	textDoctorServed    = "served by the agent"
	textDoctorHeld      = "held open by %s; the next connection starts the agent"
	textDoctorFree      = "free for the agent"
	textDoctorTaken     = "taken by %s: your programs would send their tokens there"
	textDoctorMetrics   = "taken by %s"
	textDoctorTaker     = "another program"
	textDoctorTakerUser = "a program of user %d"
	textDoctorHidden    = "a program that hides its process, as stepup does"
	textDoctorNoSocket  = "there is something else than a socket"
	textDoctorStale     = "left by an agent that is gone; the next one removes it"

	hintDoctorTaken        = "stop that program, or choose another address in the listener block"
	hintDoctorMetrics      = "stop that program, or choose another address in the telemetry block"
	hintDoctorAddress      = "choose another address in the listener block"
	hintDoctorNoSocket     = "remove it, or choose another path in the listener block"
	hintDoctorSocketFolder = "choose a path in a folder of your own, such as ${runtime_dir}/vault.sock"
)

// takerHidden says which programs may have an address that should be ours.
func takerHidden(candidates []peer.Candidate) string {
	var names []string
	for _, c := range candidates {
		names = append(names, fmt.Sprintf("%s (pid %d)", printable(c.Name), c.PID))
	}
	if len(names) == 0 {
		return textDoctorHidden
	}
	return textDoctorHidden + " (it may be " + strings.Join(names, ", ") + ")"
}

// The way to Vault.
const (
	textDoctorRaw           = "%s: not initialised"
	textDoctorSealed        = "%s: sealed"
	textDoctorOld           = "%s: version %s has no Login MFA"
	textDoctorClock         = "its clock is %s %s ours: %s"
	textDoctorAhead         = "ahead of"
	textDoctorBehind        = "behind"
	textDoctorCodesFail     = "TOTP codes made on this machine are refused"
	textDoctorCodesDoubt    = "from 30 s on, TOTP codes are refused"
	textDoctorSkip          = "tls_skip_verify: anybody on the way may be Vault and read your tokens"
	textDoctorPlain         = "http: anybody on the way reads your tokens"
	textDoctorAuthority     = "its certificate is signed by an authority that is not known here: %s"
	textDoctorHost          = "its certificate is for other names: %s"
	textDoctorExpired       = "its certificate is good from %s to %s only"
	textDoctorEnded         = "its certificate has ended on %s"
	textDoctorExpires       = "its certificate ends on %s"
	textDoctorClientExpired = "our client certificate has ended on %s"
	textDoctorClientExpires = "our client certificate ends on %s"
	textDoctorNoTLS         = "it speaks http, not https"
	textDoctorTimeout       = "no answer in time"
	textDoctorHungUp        = "the connection was closed without an answer"

	hintDoctorRaw           = "`vault operator init` at the server"
	hintDoctorSealed        = "an operator has to unseal it"
	hintDoctorOld           = "logins are completed from Vault 1.10 on"
	hintDoctorClock         = "set the clock by the network: `timedatectl set-ntp true` on Linux, the date settings elsewhere; if this one is right, tell the operator of Vault"
	hintDoctorSkip          = "name the authority by ca_cert in the vault block instead"
	hintDoctorPlain         = "use https in the vault block"
	hintDoctorAuthority     = "name its PEM file by ca_cert in the vault block"
	hintDoctorHost          = "use one of these names in the address, or set tls_server_name in the vault block"
	hintDoctorExpired       = "if the clock of this machine is right, an operator has to renew it"
	hintDoctorExpires       = "tell the operator of Vault"
	hintDoctorClientExpired = "renew it; the agent takes the new files by itself"
	hintDoctorNoTLS         = "check the scheme and the port of the address in the vault block"
	hintDoctorDNS           = "check the name in the vault block, and whether the VPN is up"
	hintDoctorRefused       = "check host and port in the vault block, and whether Vault runs"
	hintDoctorTimeout       = "check the VPN, the firewall and the proxy (HTTPS_PROXY, VAULT_PROXY_ADDR)"
	hintDoctorNotVault      = "check the address in the vault block: something else than Vault may answer there"
)

func textDoctorDNS(name string) string { return name + " is not known" }

// textDoctorRefused names the address that refused, which may be that of a proxy.
func textDoctorRefused(err error) string {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Addr != nil {
		return "nobody listens at " + dial.Addr.String()
	}
	return "nobody listens there: " + syscall.ECONNREFUSED.Error()
}

// The person and their places.
const (
	textDoctorNoKeyring    = "not used by this configuration"
	textDoctorKeyring      = "can be used"
	textDoctorKeyringAgent = "used by the agent"
	textDoctorMemory       = "step-up tokens are kept in memory and gone when the agent stops"
	textDoctorNoSecrets    = "the configuration wants secrets from it"
	textDoctorNoDesktop    = "not used by this configuration, which asks by %s"
	textDoctorDialogs      = "can be asked with %s"
	textDoctorNotification = "can be shown"
	textDoctorNoProgram    = "%s is not found in PATH"
	textDoctorQuestion     = "a test by stepup doctor: any answer is right"
	textDoctorAnswered     = "was shown and answered"
	textDoctorDenied       = "was shown and denied"
	textDoctorClosed       = "was shown and closed"
	textDoctorNobody       = "nobody has answered it"
	textDoctorNotAsked     = "could not be shown: %w"

	hintDoctorKeyring      = `on a desktop, start its keyring (gnome-keyring, KWallet); elsewhere set store = "memory" in the cache block`
	hintDoctorDesktop      = "install zenity or kdialog, and run this in the session of your desktop; without one, `stepup attach` and `stepup exec` ask in a terminal"
	hintDoctorNotification = "start a notification daemon (dunst, mako) in your session; without one, dialogs are all you see"
	hintDoctorProgram      = "write its full path into the prompt block"
)

// The environment.
const (
	textDoctorEnvironment = "nothing stands in the way"
	textDoctorAddr        = "leads to the agent: %s"
	textDoctorNoAddr      = "not set: Vault's clients go to https://127.0.0.1:8200"
	textDoctorBadAddr     = "is no address that Vault's clients can use"
	textDoctorHTTPS       = "%s is the agent, which speaks plain http there"
	textDoctorPast        = "goes to %s, past the agent"
	textDoctorWrongDoor   = "goes to %s, where no listener of the agent is"
	textDoctorToken       = "is set, so the token in %s is not used"
	textDoctorHelper      = "the token helper"
	textDoctorBadProxy    = "is not the URL of a proxy"
	textDoctorProxyUs     = "names the agent, which is no forward proxy: every request through it is refused"
	textDoctorProxy       = "is a forward proxy for everything that Vault's clients send, to the agent too"
	textDoctorHTTPProxy   = "is set and NO_PROXY does not leave 127.0.0.1 out: curl, Python and others do not reach the agent"
	textDoctorBadTimeout  = "is no duration: Vault's clients fail"
	textDoctorShort       = "clients give up after %s, before you can answer"
	textDoctorPush        = "clients give up after %s, a push may take 90 s"
	textDoctorEmpty       = "is set, but empty: OpenBao's clients take that and not %s"

	hintDoctorProxyUs    = "unset %s; VAULT_ADDR is what leads to the agent"
	hintDoctorProxy      = "set it for the agent alone (~/.config/environment.d) and unset %s here"
	hintDoctorNoProxy    = "export NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost"
	hintDoctorTimeoutSet = "export %s=120s"
)

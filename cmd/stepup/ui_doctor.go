package main

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/supervisor"
)

// The words of stepup doctor. The rules are those of ui.go: a finding says what
// is, its hint what to do.

const ()

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
	textDoctorOwner = "%s belongs to user %d"

	textDoctorAudit = "the audit log cannot be written: %v"

	textDoctorChangeable = "another user could change what stepup trusts: %v"

	hintDoctorConfig = "`stepup config check` shows the place"
)

// The agent and its service.
const ()

// hintDoctorStart is for a service that is installed and does not run.
func hintDoctorStart(manager string) string {
	if manager == supervisor.ManagerLaunchd {
		return "`stepup service install` starts it"
	}
	return "`systemctl --user start stepup.service` starts it"
}

func hintDoctorFailed(manager string) string {
	if manager == supervisor.ManagerLaunchd {
		return "~/Library/Logs/stepup.log says why, `stepup service install` tries again"
	}
	return "`journalctl --user -u stepup.service -u stepup.socket -n 30` says why, `stepup service install` tries again"
}

// Listeners.
const (
	textDoctorHidden = "a program that hides its process, as stepup does"
)

// takerHidden says which programs may have an address that should be ours.
func takerHidden(candidates []peer.Candidate) string {
	var names []string
	for _, c := range candidates {
		names = append(names, fmt.Sprintf("%s (pid %d)", cli.Printable(c.Name), c.PID))
	}
	if len(names) == 0 {
		return textDoctorHidden
	}
	return textDoctorHidden + " (it may be " + strings.Join(names, ", ") + ")"
}

// The way to Vault.
const ()

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
const ()

// The environment.
const ()

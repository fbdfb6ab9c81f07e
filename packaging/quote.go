package packaging

import (
	"path"
	"strings"
)

// systemdWord makes s one argument of ExecStart: quoted where it must be,
// nothing in it taken for a specifier or a variable (systemd.service(5)).
func systemdWord(s string) string {
	return quoted(strings.ReplaceAll(s, "$", "$$"))
}

// systemdProgram is systemdWord for the first word, in which a $ stands for
// itself.
func systemdProgram(s string) string { return quoted(s) }

// systemdVariable makes NAME=value one word of Environment=, in which a $ stands
// for itself (systemd.exec(5)).
func systemdVariable(s string) string { return quoted(s) }

func quoted(s string) string {
	escaped := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(s)
	if escaped == s && s != "" && !strings.ContainsAny(s, " '") {
		return s
	}
	return `"` + escaped + `"`
}

// systemdAddress is the value of ListenStream=, which is not quoted.
func (a Agent) systemdAddress(l Address) string {
	if l.Network != "unix" {
		return l.Name
	}
	name := path.Clean(l.Name)
	if below, ok := strings.CutPrefix(name, a.RuntimeDir+"/"); ok && a.RuntimeDir != "" {
		return "%t/" + strings.ReplaceAll(below, "%", "%%")
	}
	return strings.ReplaceAll(name, "%", "%%")
}

// windowsWord makes s one argument for programs that read their command line as
// C programs do. A path holds no quote there; a \ counts before one only.
func windowsWord(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t") {
		return s
	}
	trailing := s[len(strings.TrimRight(s, `\`)):]
	return `"` + s + trailing + `"`
}

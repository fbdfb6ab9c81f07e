package peer

import (
	"path/filepath"
	"slices"
	"strings"
)

// Limits of a claim, in bytes.
const (
	maxWord   = 20 // of a first argument
	maxFile   = 48 // of the name of a script
	maxFolder = 40
	maxPlays  = 2
)

// claim is what a command line says: the program's own name, and the first
// argument if that is a plain word, such as "apply". Of an interpreter it is the script, which
// tells more than "python3.11". The rest is left out: people pass tokens and passwords there,
// and what is shown may be looked at by others. folder is where the process works; it is a
// part where it says which play or plan this is.
func claim(args []string, folder string) string {
	if len(args) == 0 || args[0] == "" {
		return ""
	}
	name := filepath.Base(args[0])
	words, working := []string{name}, strings.HasPrefix(name, "terraform") || strings.HasPrefix(name, "tofu") || name == "terragrunt"
	if language, ok := interpreterOf(name); ok {
		script, rest := language.script(args[1:])
		words, working = append(words, script...), len(script) > 0
		if len(script) == 1 {
			name, args = script[0], append([]string{script[0]}, rest...)
		}
	} else if len(args) > 1 && plainWord(args[1]) {
		words = append(words, args[1])
	}
	if strings.HasPrefix(name, "ansible-playbook") {
		words, working = append(words, plays(args[1:])...), true
	}
	if working && folder != "" {
		words = append(words, "in", shortFolder(folder))
	}
	return strings.Join(words, " ")
}

// An interpreter is a program that runs a script.
type interpreter struct {
	names  []string // without a version
	takes  []string // options whose value is an argument of its own
	module []string // options whose value is what is run
	code   []string // options whose value is the program: never shown
}

// interpreters are those of the libraries of Vault.
func interpreters() []interpreter {
	return []interpreter{
		{names: []string{"python", "pypy"}, takes: []string{"-W", "-X", "--check-hash-based-pycs"}, module: []string{"-m"}, code: []string{"-c"}},
		{names: []string{"node", "nodejs", "bun"}, takes: []string{"-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--conditions", "--env-file"}, code: []string{"-e", "--eval", "-p", "--print", "-pe"}},
		{names: []string{"java"}, takes: []string{"-cp", "-classpath", "--class-path", "-p", "--module-path", "--add-modules", "--add-opens", "--add-exports", "--add-reads"}, module: []string{"-jar", "-m", "--module"}},
		{names: []string{"ruby"}, takes: []string{"-I", "-r", "-C", "-E"}, code: []string{"-e"}},
		{names: []string{"perl"}, takes: []string{"-I"}, code: []string{"-e", "-E"}},
		{names: []string{"php"}, takes: []string{"-d", "-c"}, module: []string{"-f"}, code: []string{"-r"}},
		{names: []string{"dotnet"}},
	}
}

// interpreterOf finds the interpreter of a name such as "python3.11".
func interpreterOf(name string) (interpreter, bool) {
	name = strings.TrimRight(strings.TrimSuffix(name, ".exe"), "0123456789.")
	all := interpreters()
	i := slices.IndexFunc(all, func(l interpreter) bool { return slices.Contains(l.names, name) })
	if i < 0 {
		return interpreter{}, false
	}
	return all[i], true
}

// RunsScripts reports whether the executable is one that runs many programs, which only their
// claims tell apart.
func (p Peer) RunsScripts() bool {
	_, ok := interpreterOf(filepath.Base(p.Exe))
	return ok
}

// script finds what is run, in words, and the arguments behind it; nothing where that is
// program text, or does not look like the name of a file.
func (l interpreter) script(args []string) (words, rest []string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case slices.Contains(l.code, arg):
			return nil, nil
		case slices.Contains(l.module, arg):
			if i+1 == len(args) || !plainFile(args[i+1]) {
				return nil, nil
			}
			if arg == "-jar" || arg == "-f" {
				return []string{filepath.Base(args[i+1])}, args[i+2:]
			}
			return []string{"-m", filepath.Base(args[i+1])}, args[i+2:]
		case slices.Contains(l.takes, arg):
			i++
		case strings.HasPrefix(arg, "-"):
		case plainFile(arg):
			return []string{filepath.Base(arg)}, args[i+1:]
		default:
			return nil, nil
		}
	}
	return nil, nil
}

// plays are the playbooks among the arguments of ansible-playbook: files of YAML that are not
// the value of an option.
func plays(args []string) (names []string) {
	for i, arg := range args {
		yaml := strings.HasSuffix(arg, ".yml") || strings.HasSuffix(arg, ".yaml")
		if yaml && plainFile(arg) && !(i > 0 && takesValue(args[i-1])) && len(names) < maxPlays {
			names = append(names, filepath.Base(arg))
		}
	}
	return names
}

// takesValue reports whether an argument of ansible-playbook is an option whose value follows.
func takesValue(arg string) bool {
	flags := []string{"-b", "-C", "-D", "-k", "-K", "-J", "--become", "--check", "--diff", "--ask-pass", "--ask-become-pass", "--ask-vault-pass", "--step"}
	return strings.HasPrefix(arg, "-") && !strings.Contains(arg, "=") && strings.Trim(arg, "-v") != "" && !slices.Contains(flags, arg)
}

// plainFile reports whether an argument looks like the name of a script. A token or a
// password in its place must not be shown.
func plainFile(arg string) bool {
	base := filepath.Base(arg)
	if !strings.ContainsAny(arg, "./") && !plainWord(arg) {
		return false
	}
	for _, r := range base {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._+-", r) {
			return false
		}
	}
	for _, token := range []string{"hvs.", "hvb.", "hvr.", "s.", "b.", "r."} {
		if strings.HasPrefix(base, token) && len(base) > maxWord {
			return false
		}
	}
	return base != "." && base != "/" && base[0] != '-' && len(base) <= maxFile
}

// withoutPunctuation makes that a name cannot look like more than a name.
func withoutPunctuation(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" ,:;()", r) || r < ' ' {
			return '?'
		}
		return r
	}, name)
}

// shortFolder is the end of a path, in whole names. A name cannot look like words of ours.
func shortFolder(folder string) string {
	clean := withoutPunctuation(folder)
	if len(clean) <= maxFolder {
		return clean
	}
	end := clean[len(clean)-maxFolder:]
	if _, rest, ok := strings.Cut(end, "/"); ok {
		return ".../" + rest
	}
	return "..." + end
}

func plainWord(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && r != '-' {
			return false
		}
	}
	return s != "" && s[0] != '-' && len(s) <= maxWord
}

package prompt

import (
	"cmp"
	"os"
	"strings"
)

// Environ returns this process's environment for a program of the user; see
// [WithoutSecrets].
func Environ() []string { return WithoutSecrets(os.Environ()) }

// WithoutSecrets returns an environment for a program that is not ours: without
// Vault's token variables and all else that looks like a secret.
func WithoutSecrets(environ []string) []string {
	kept := make([]string, 0, len(environ))
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		if !secretName(strings.ToUpper(name)) && !secretValue(value) {
			kept = append(kept, variable)
		}
	}
	return kept
}

// secretWords mark a variable that holds a secret by its name, wherever they
// stand in it: VAULT_TOKEN, BAO_TOKEN, GITHUB_TOKEN, AWS_SECRET_ACCESS_KEY, PGPASSWORD,
// RESTIC_PASSWORD. Dropping one too many only costs the program a variable that it
// hardly needs.
func secretWords() []string {
	return []string{
		"TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "PASSCODE", "CREDENTIAL",
		"PRIVATE_KEY", "API_KEY", "APIKEY", "ACCESS_KEY", "COOKIE",
	}
}

// secretName reports whether a variable of this name, in upper case, holds a secret.
// Beside the words it knows Vault's and OpenBao's MFA credentials and extra headers, and
// sshpass. As suffixes: DB_PASS, MYSQL_PWD (not PWD and OLDPWD).
func secretName(name string) bool {
	switch name {
	case "VAULT_MFA", "BAO_MFA", "VAULT_HEADERS", "BAO_HEADERS", "SSHPASS":
		return true
	}
	for _, word := range secretWords() {
		if strings.Contains(name, word) {
			return true
		}
	}
	return strings.HasSuffix(name, "_PASS") || strings.HasSuffix(name, "_PWD") || strings.HasSuffix(name, "_PIN")
}

// secretValue finds secrets under an innocent name: Vault tokens, and addresses
// with a password in them (HTTPS_PROXY, the VAULT_ADDR of a single run).
func secretValue(value string) bool {
	for _, prefix := range []string{"hvs.", "hvb.", "hvr."} {
		if strings.HasPrefix(value, prefix) {
			return true
		}
	}
	_, rest, ok := strings.Cut(value, "://")
	if !ok {
		return false
	}
	authority, _, _ := strings.Cut(rest, "/")
	user, _, ok := strings.Cut(authority, "@")
	return ok && strings.Contains(user, ":")
}

// Getenv looks into an environment like os.Getenv. The last of a name counts, as for a
// program that os/exec starts.
func Getenv(environ []string) func(name string) string {
	return func(name string) (value string) {
		for _, variable := range environ {
			if n, v, _ := strings.Cut(variable, "="); n == name {
				value = v
			}
		}
		return value
	}
}

// Locale returns the locale that a program with this environment uses for characters:
// "de_DE.UTF-8", and "C" where none is set.
func Locale(getenv func(string) string) string {
	return cmp.Or(getenv("LC_ALL"), getenv("LC_CTYPE"), getenv("LANG"), "C")
}

// HasUTF8 reports whether the character set of an environment is UTF-8.
func HasUTF8(getenv func(string) string) bool {
	name := strings.ToUpper(Locale(getenv))
	return strings.HasSuffix(name, ".UTF-8") || strings.HasSuffix(name, ".UTF8")
}

// Package vaultcli knows how the programs vault and bao find the address of their
// server, their token and their token helper.
package vaultcli

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// A CLI is one of the two programs.
type CLI struct {
	Name       string   // of the program
	Link       string   // the name under which it runs stepup as its token helper
	file       string   // its configuration in the home folder
	fileEnv    []string // variables that name another file; the first that is set wins
	Addresses  []string // variables that name the server; the first that is set wins
	Namespaces []string // variables that name the namespace; the first that is set wins
	tokens     []string // variables that hold a token; the first that is set wins
	tokenFile  []string // variables that name another file than ~/.vault-token; the first that is set wins
}

// Vault is the program vault: api/client.go (NewClient takes AgentAddress over Address), api/cliconfig.
func Vault() CLI {
	return CLI{
		Name: "vault", Link: cli.HelperName, file: ".vault", fileEnv: []string{"VAULT_CONFIG_PATH"},
		Addresses: []string{"VAULT_AGENT_ADDR", "VAULT_ADDR"}, Namespaces: []string{"VAULT_NAMESPACE"},
		tokens: []string{"VAULT_TOKEN", "BAO_TOKEN"},
	}
}

// OpenBao is the program bao. It reads each variable as BAO_ and then as VAULT_ (api/env.go).
func OpenBao() CLI {
	return CLI{
		Name: "bao", Link: cli.HelperNameBao, file: ".bao", fileEnv: []string{"BAO_CONFIG_PATH", "VAULT_CONFIG_PATH"},
		Addresses:  []string{"BAO_AGENT_ADDR", "VAULT_AGENT_ADDR", "BAO_ADDR", "VAULT_ADDR"},
		Namespaces: []string{"BAO_NAMESPACE", "VAULT_NAMESPACE"},
		tokens:     []string{"BAO_TOKEN", "VAULT_TOKEN"}, tokenFile: []string{"BAO_TOKEN_PATH", "VAULT_TOKEN_PATH"},
	}
}

// Told is the program that this shell tells of a server: bao where only bao is told.
func Told(c *cli.Console) CLI {
	_, vaults := c.FirstEnv(Vault().Addresses)
	if _, own := c.FirstEnv([]string{"BAO_AGENT_ADDR", "BAO_ADDR"}); own != "" && vaults == "" {
		return OpenBao()
	}
	return Vault()
}

// InUse is the program that hints name: as Told, and bao where stepup is the token helper of bao alone.
func InUse(c *cli.Console) CLI {
	if told := Told(c); told.Name == OpenBao().Name {
		return told
	}
	bao, err := OpenBao().ReadConfig(c)
	if vault, fault := Vault().ReadConfig(c); err == nil && bao.Mine() && (fault != nil || vault.Helper == "") {
		return OpenBao()
	}
	return Vault()
}

// configFile is the path of its configuration. A link (into a folder of dotfiles) is
// followed, so that the file is changed and not the link.
func (f CLI) configFile(c *cli.Console) (string, error) {
	_, file := c.FirstEnv(f.fileEnv)
	if file == "" {
		file = "~/" + f.file
	}
	if file == "~" || strings.HasPrefix(file, "~/") {
		home, err := homeDir(c.Env)
		if err != nil {
			return "", err
		}
		file = filepath.Join(home, file[1:])
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(file); err == nil {
		return real, nil
	}
	return file, nil
}

// homeDir is HOME, or the system's home folder, on every system: as both programs have it.
func homeDir(env func(string) string) (string, error) {
	if home := env("HOME"); home != "" {
		return home, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errors.New("cannot tell where the home folder is")
	}
	return home, nil
}

// Toward is environ for a program that must take this server, whatever the shell says.
func Toward(environ []string, address string) []string {
	environ = slices.Clone(environ)
	for _, name := range OpenBao().Addresses { // Vault's are among them
		environ = append(environ, name+"="+address)
	}
	return environ
}

// DefaultServer is the server of both programs when no variable says otherwise.
const DefaultServer = "https://127.0.0.1:8200"

// A Server is an address as a Vault client takes it, spelled in one way.
type Server struct {
	socket             string // of unix://; nothing else is set then
	Scheme, host, port string
	path               string
}

var errServer = errors.New("not the address of a Vault server")

// ParseServer reads an address. User, query and fragment are not part of it.
func ParseServer(address string) (Server, error) {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil {
		return Server{}, errServer // err may quote a password
	}
	scheme := strings.ToLower(u.Scheme)
	switch {
	case scheme == "unix" && strings.HasPrefix(u.Path, "/"):
		return Server{socket: filepath.Clean(u.Path)}, nil
	case scheme != "http" && scheme != "https", u.Hostname() == "":
		return Server{}, errServer
	}
	s := Server{Scheme: scheme, host: strings.ToLower(u.Hostname()), port: u.Port(), path: strings.TrimRight(u.EscapedPath(), "/")}
	s.host = strings.TrimSuffix(s.host, ".")
	if ip, err := netip.ParseAddr(s.host); err == nil {
		s.host = ip.Unmap().String()
	}
	if s.port == "" {
		s.port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	return s, nil
}

// Local reports whether it can be an address of the agent.
func (s Server) Local() bool {
	if s.socket != "" || s.host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(s.host)
	return err == nil && ip.IsLoopback()
}

func (s Server) String() string {
	if s.socket != "" {
		return "unix://" + s.socket
	}
	return s.Scheme + "://" + net.JoinHostPort(s.host, s.port) + s.path
}

// Serves reports whether a client with the address s reaches the listener.
func (l Listener) Serves(s Server) bool {
	if l.Network == "unix" || s.socket != "" {
		return l.Network == "unix" && s.socket != "" && resolvePath(l.Address) == resolvePath(s.socket)
	}
	listens, err := netip.ParseAddrPort(l.Address)
	if err != nil || s.Scheme != "http" || s.port != fmt.Sprint(listens.Port()) {
		return false
	}
	ip, err := netip.ParseAddr(s.host)
	return err != nil || ip.Unmap() == listens.Addr() // a name: localhost, for either family
}

// resolvePath gives a path by which two spellings of one socket can be compared.
func resolvePath(path string) string {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, filepath.Base(path))
}

// Remote reports whether an address is that of another machine, and so not of
// an agent of ours.
func Remote(address string) bool {
	s, err := ParseServer(address)
	if err != nil || s.Local() {
		return false
	}
	ip, err := netip.ParseAddr(s.host)
	return err != nil || !ip.IsUnspecified()
}

// ParseTimeout reads a VAULT_CLIENT_TIMEOUT as Vault's clients do: a duration, or seconds.
func ParseTimeout(value string) (time.Duration, error) {
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(seconds) * time.Second, nil
	}
	return time.ParseDuration(value)
}

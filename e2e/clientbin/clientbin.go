// Package clientbin finds the programs of others that the tests run as clients
// of stepup, and makes them from the versions that the folders below clients
// name. They are kept in the user's cache folder from run to run.
package clientbin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// ErrMissing is returned by Find for what Make has not made yet.
var ErrMissing = errors.New("not made yet")

// A Client is a folder below clients: a Go module whose tool is the program, or that is
// the program itself, or an npm package whose one dependency is the library.
type Client struct {
	Name string // of the folder
	Path string // of the Go module, or the name of the npm package
	main string // package of the program, where that is not Path
	npm  bool
}

// The clients that are made.
func ConsulTemplate() Client {
	return Client{Name: "consul-template", Path: "github.com/hashicorp/consul-template"}
}
func Terraform() Client { return Client{Name: "terraform", Path: "github.com/hashicorp/terraform"} }
func VaultProvider() Client {
	return Client{Name: "terraform-provider-vault", Path: "github.com/hashicorp/terraform-provider-vault"}
}
func Sops() Client {
	const module = "github.com/getsops/sops/v3"
	return Client{Name: "sops", Path: module, main: module + "/cmd/sops"}
}
func Vals() Client {
	const module = "github.com/helmfile/vals"
	return Client{Name: "vals", Path: module, main: module + "/cmd/vals"}
}
func VaultClientGo() Client {
	return Client{Name: "vault-client-go", Path: "github.com/hashicorp/vault-client-go", main: "."}
}
func NodeVault() Client       { return library("node-vault") }
func HashiVaultJS() Client    { return library("hashi-vault-js") }
func NodeVaultClient() Client { return library("node-vault-client") }
func VaultAPI() Client        { return library("vault-api") }

func library(name string) Client { return Client{Name: name, Path: name, npm: true} }

// All is every client.
func All() []Client {
	return []Client{
		ConsulTemplate(), Terraform(), VaultProvider(), Sops(), Vals(), VaultClientGo(),
		NodeVault(), HashiVaultJS(), NodeVaultClient(), VaultAPI(),
	}
}

// Version is what the module or the lock file names. The current folder is that
// of the e2e module, here and below.
func (c Client) Version() (string, error) {
	file, pattern := "go.mod", `(?m)^(?:require)?\s*`+regexp.QuoteMeta(c.Path)+` v(\S+)`
	if c.npm {
		file, pattern = "package-lock.json", `"node_modules/`+regexp.QuoteMeta(c.Path)+`": \{\s*"version": "([^"]+)"`
	}
	text, err := os.ReadFile(filepath.Join(c.dir(), file))
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(pattern).FindSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s names no version of %s", filepath.Join(c.dir(), file), c.Path)
	}
	return string(m[1]), nil
}

func (c Client) dir() string { return filepath.Join("clients", c.Name) }

// Find returns the path of the program; of a library, that of the folder with
// its node_modules.
func (c Client) Find() (string, error) {
	folder, err := c.folder()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(folder); errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%s: %w", c.Name, ErrMissing)
	} else if err != nil {
		return "", err
	}
	return c.in(folder), nil
}

func (c Client) in(folder string) string {
	if c.npm {
		return folder
	}
	if runtime.GOOS == "windows" {
		return filepath.Join(folder, c.Name+".exe")
	}
	return filepath.Join(folder, c.Name)
}

// folder is where the client is kept once it is complete.
func (c Client) folder() (string, error) {
	version, err := c.Version()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	if c.main == "." { // a program of ours changes without its version
		text, err := os.ReadFile(filepath.Join(c.dir(), "main.go"))
		if err != nil {
			return "", err
		}
		version += fmt.Sprintf("-%.4x", sha256.Sum256(text))
	}
	return filepath.Join(cache, "stepup-e2e", c.Name+"-"+version), nil
}

// Make builds or installs the client and returns what Find does. It needs the
// module proxy, or the npm registry.
func (c Client) Make(ctx context.Context, log io.Writer) (_ string, err error) {
	folder, err := c.folder()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		return "", err
	}
	// Renamed when complete, so that a broken-off build is never taken for one.
	part, err := os.MkdirTemp(filepath.Dir(folder), c.Name+".part")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(part)
	cmd := exec.CommandContext(ctx, "go", "build", "-C", c.dir(), "-o", c.in(part), cmp.Or(c.main, c.Path))
	if c.npm {
		for _, name := range []string{"package.json", "package-lock.json"} {
			text, err := os.ReadFile(filepath.Join(c.dir(), name))
			if err != nil {
				return "", err
			}
			if err := os.WriteFile(filepath.Join(part, name), text, 0o600); err != nil {
				return "", err
			}
		}
		cmd = exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
		cmd.Dir = part
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(cmd.Args[:2], " "), err)
	}
	if err := os.Rename(part, folder); err != nil {
		return "", err
	}
	return c.Find()
}

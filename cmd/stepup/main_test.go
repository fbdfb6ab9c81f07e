//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// TestMain lets the test binary be stepup, and the app of the scripts in
// testdata/script.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		cli.HelperName:    main,
		cli.HelperNameBao: main,
		"stepup": func() {
			// Away from the terminal on which the tests run: nothing may be asked
			// there. A process that got a terminal of its own from a test leads a
			// session already: it fails here, and keeps it.
			if os.Getenv(keepTTY) == "" {
				_, _ = syscall.Setsid()
			}
			os.Exit(run(cli.SharedConfig{Path: os.Getenv(sharedConfig), Admin: os.Geteuid()}))
		},
		"vault": func() {
			text, code := vaultProgram(os.Args[1:])
			fmt.Print(text)
			os.Exit(code)
		},
		"vaultget":  getter,
		"hiddenget": func() { hideProcess(); getter() },
	})
}

// sharedConfig names the file for all users in a script. The program itself knows no such
// variable.
const sharedConfig = "TEST_SHARED_CONFIG"

// getter is vaultget as a program.
func getter() {
	if err := vaultget(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// appHost is what an app asks for at an address as VAULT_ADDR has it.
func appHost(base string) string {
	if host, ok := strings.CutPrefix(base, "http://"); ok {
		return host
	}
	return "localhost"
}

// appClient connects to such an address, as Vault's library does.
func appClient(base string) *http.Client {
	path, ok := strings.CutPrefix(base, "unix://")
	if !ok {
		return http.DefaultClient
	}
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
}

// vaultget is an app: it reads a path through the agent, or logs alice in there
// if that is a login, and prints status, outcome and body.
func vaultget(path string) error {
	base, err := appAddress()
	if err != nil {
		return err
	}
	method, body := http.MethodGet, ""
	if strings.Contains(path, "/login/") {
		method, body = http.MethodPut, `{"password":"alice's password"}`
	}
	req, err := http.NewRequest(method, "http://"+appHost(base)+"/v1/"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	if method == http.MethodGet {
		req.Header.Set("X-Vault-Token", os.Getenv("APP_TOKEN"))
	}
	resp, err := appClient(base).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode, resp.Header.Get("Stepup-Outcome"))
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}

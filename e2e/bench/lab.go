package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/e2e/vaultbin"
)

// A lab is the programs of a run, all on loopback.
type lab struct {
	dir, self, stepup string

	started   int
	processes []*process
	upstreams [3]string // of serveUpstream
}

// newLab builds stepup as a release is built, and starts the upstream. Close ends it.
func newLab(ctx context.Context, stepup string) (_ *lab, err error) {
	l := &lab{stepup: stepup}
	if l.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if l.dir, err = os.MkdirTemp("", "stepup-bench"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	if l.stepup == "" {
		l.stepup = filepath.Join(l.dir, "stepup")
		build := exec.CommandContext(ctx, "go", "build", "-C", "..", "-trimpath", "-ldflags", "-s -w", "-o", l.stepup, "./cmd/stepup")
		build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
		if err := build.Run(); err != nil {
			return nil, fmt.Errorf("build stepup: %w", err)
		}
	}
	_, words, err := l.own("upstream", l.dir)
	if err == nil && copy(l.upstreams[:], words) != len(l.upstreams) {
		err = fmt.Errorf("upstream says %q", words)
	}
	return l, err
}

// Close ends all processes and removes what they have written.
func (l *lab) Close() {
	for _, p := range l.processes {
		p.stop()
	}
	_ = os.RemoveAll(l.dir)
}

func (l *lab) ca() string { return filepath.Join(l.dir, "ca.pem") }

// url is the address of an upstream: 0 is plain, 1 has TLS with HTTP/1.1, 2 with HTTP/2.
func (l *lab) url(upstream int) string {
	if upstream == 0 {
		return "http://" + l.upstreams[0]
	}
	return "https://" + l.upstreams[upstream]
}

// bare starts a bare reverse proxy in front of an upstream.
func (l *lab) bare(upstream int) (side, error) {
	p, words, err := l.own("bare", l.url(upstream), l.ca())
	if err != nil || len(words) != 1 {
		return side{}, errors.Join(err, fmt.Errorf("bare proxy says %q", words))
	}
	return side{name: "bare", addr: words[0], path: secretPath, process: p}, nil
}

// An agent is a stepup that is to be started.
type agent struct {
	name     string
	upstream int
	more     string // of the configuration
}

// rules is a configuration of so many rules that match no request of the load.
func rules(n int) string {
	if n == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("mfa_method \"corp_totp\" { type = \"totp\" }\n")
	for i := range n {
		fmt.Fprintf(&b, "step_up \"team-%d\" {\n  paths = [\"kv/data/team-%d/*\"]\n  methods = [\"corp_totp\"]\n  grant \"header\" {}\n}\n", i, i)
	}
	return b.String()
}

// guarded is a rule that steps up with a code that a program asks at addr.
func (l *lab) guarded(addr string) string {
	return fmt.Sprintf(`mfa_method "corp_totp" {
  type             = "totp"
  passcode_command = [%q, "code", %q]
}
step_up "guarded" {
  paths   = ["kv/data/guarded/*"]
  methods = ["corp_totp"]
  grant "token" { path = %q }
}
`, l.self, addr, mintPath)
}

// asked is a rule whose code a person is asked for, on a terminal that is attached.
const asked = `mfa_method "corp_totp" { type = "totp" }
step_up "guarded" {
  paths   = ["kv/data/guarded/*"]
  methods = ["corp_totp"]
  grant "header" {}
}
prompt { use = ["attached"] }
`

const noExpress = "relay { express = false }\n"

// config writes the configuration of an agent that listens at addr.
func (l *lab) config(a agent, addr string) (string, error) {
	text := fmt.Sprintf(`vault "bench" {
  address = %q
  ca_cert = %q
}
listener "tcp" { address = %q }
cache { store = "memory" }
log { level = "warn" }
`, l.url(a.upstream), l.ca(), addr) + a.more
	file := filepath.Join(l.dir, fmt.Sprintf("stepup-%d.hcl", l.started))
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// hasExpress reports whether this stepup has an express lane that can be switched off.
func (l *lab) hasExpress(ctx context.Context) bool {
	file, err := l.config(agent{more: noExpress}, "127.0.0.1:8100")
	return err == nil && exec.CommandContext(ctx, l.stepup, "config", "check", file).Run() == nil
}

// agent starts stepup.
func (l *lab) agent(ctx context.Context, a agent) (side, error) {
	addr, err := freeAddress()
	if err != nil {
		return side{}, err
	}
	file, err := l.config(a, addr)
	if err != nil {
		return side{}, err
	}
	return l.proxy(ctx, side{name: a.name, addr: addr}, l.stepup, "agent", "--config", file)
}

// proxy starts a program and waits until it relays.
func (l *lab) proxy(ctx context.Context, s side, name string, args ...string) (side, error) {
	p, _, err := l.start(name, args...)
	if err != nil {
		return side{}, err
	}
	s.process, s.path = p, secretPath
	for range patience / (50 * time.Millisecond) {
		if err = s.once(); err == nil {
			return s, nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return side{}, err
		}
	}
	return side{}, p.explain(err)
}

// once sends one request.
func (s side) once() error {
	c, err := s.dial(4 << 10)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write(s.request("GET", 0)); err != nil {
		return err
	}
	_, err = readAnswer(c.r)
	return err
}

// others starts the proxies of other people that this machine has.
func (l *lab) others(ctx context.Context) (all []side, err error) {
	vault, _ := vaultbin.Find(ctx)
	nginx, _ := exec.LookPath("nginx")
	haproxy, _ := exec.LookPath("haproxy")
	for _, other := range []struct {
		name, program, config string
		args                  []string
	}{
		{"nginx", nginx, nginxConfig, []string{"-c"}},
		{"haproxy", haproxy, haproxyConfig, []string{"-db", "-f"}},
		{"Vault Proxy", vault, vaultConfig, []string{"proxy", "-log-level=error", "-config"}},
	} {
		if other.program == "" {
			continue
		}
		addr, err := freeAddress()
		if err != nil {
			return nil, err
		}
		file := filepath.Join(l.dir, filepath.Base(other.program)+".hcl")
		text := strings.NewReplacer("LISTEN", addr, "UPSTREAM", l.upstreams[0], "DIR", l.dir).Replace(other.config)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return nil, err
		}
		s, err := l.proxy(ctx, side{name: other.name, addr: addr}, other.program, append(other.args, file)...)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

const (
	nginxConfig = `daemon off;
master_process off;
error_log stderr error;
pid DIR/nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  client_max_body_size 0;
  keepalive_requests 1000000000;
  client_body_temp_path DIR/nginx; proxy_temp_path DIR/nginx;
  fastcgi_temp_path DIR/nginx; uwsgi_temp_path DIR/nginx; scgi_temp_path DIR/nginx;
  upstream vault { server UPSTREAM; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen LISTEN;
    location / { proxy_pass http://vault; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`
	haproxyConfig = `global
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend programs
  bind LISTEN
  default_backend vault
backend vault
  http-reuse always
  server vault UPSTREAM
`
	vaultConfig = `vault { address = "http://UPSTREAM" }
api_proxy { use_auto_auth_token = false }
listener "tcp" {
  address     = "LISTEN"
  tls_disable = true
}
`
)

// freeAddress is one that nothing listened at a moment ago.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

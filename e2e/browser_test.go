package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// rebound is a name that the browsers resolve to another address of the loopback
// network than stepup's: the server of a page that is about to change its address.
const (
	rebound        = "evil.example"
	reboundAddress = "127.0.0.2"
)

// A browser is a real one, without a window.
type browser struct {
	name     string
	programs []string
	args     func(t *testing.T, profile, url string) []string
}

func browsers() []browser {
	return []browser{
		{"Chromium", []string{"chromium", "google-chrome"}, chromiumArgs},
		{"Firefox", []string{"firefox-esr", "firefox"}, firefoxArgs},
	}
}

// Neither browser may call home: every name but the test's own is unknown, or the test's
// own computer.
func chromiumArgs(_ *testing.T, profile, url string) []string {
	return []string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-popup-blocking",
		"--password-store=basic", "--user-data-dir=" + profile,
		"--host-resolver-rules=MAP " + rebound + " " + reboundAddress + ", MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1, EXCLUDE " + reboundAddress,
		url,
	}
}

func firefoxArgs(t *testing.T, profile, url string) []string {
	t.Helper()
	write(t, filepath.Join(profile, "user.js"), `
user_pref("network.dns.forceResolve", "`+reboundAddress+`");
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("app.update.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("dom.disable_open_during_load", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("network.preload", true);
`)
	return []string{"--headless", "--no-remote", "--profile", profile, url}
}

// find skips where there is no such browser.
func (b browser) find(t *testing.T) (path string) {
	t.Helper()
	for _, name := range b.programs {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("needs " + strings.Join(b.programs, " or "))
	return ""
}

// open starts the browser with a page. It ends with the test.
func (b browser) open(t *testing.T, url string) {
	t.Helper()
	home := tempDir(t)
	profile := filepath.Join(home, "profile")
	check(t, os.Mkdir(profile, 0o700))
	program{path: b.find(t), env: cleanEnv(home, "MOZ_CRASHREPORTER_DISABLE=1")}.start(t, b.args(t, profile, url)...)
}

// A record holds the means of attack that arrived somewhere.
type record struct {
	mu    sync.Mutex
	means []string
}

func (r *record) add(target string) {
	if _, means, ok := strings.Cut(target, "attack-"); ok {
		means, _, _ = strings.Cut(means, "?")
		r.mu.Lock()
		defer r.mu.Unlock()
		r.means = append(r.means, means)
	}
}

// missing lists what of these has not arrived yet.
func (r *record) missing(means []string) (missing []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range means {
		if !slices.Contains(r.means, m) {
			missing = append(missing, m)
		}
	}
	return missing
}

// An attacker serves the page, and an address that refuses as stepup does and
// takes note: what arrives there would arrive at a Vault.
type attacker struct {
	site    string // of the page
	control string // takes note of all that arrives
	arrived *record
	script  string

	mu   sync.Mutex
	read []string // what the page could read
}

func newAttacker(t *testing.T) *attacker {
	t.Helper()
	script, err := os.ReadFile("clients/browser/attack.js")
	check(t, err)
	a := &attacker{arrived: &record{}, script: string(script)}
	a.control = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.arrived.add(r.RequestURI)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"errors":[]}`)
	})).URL
	return a
}

// page is the page of the attack, as a document of its own.
func (a *attacker) page(t *testing.T, config map[string]any) string {
	t.Helper()
	config["site"] = a.site
	text, err := json.Marshal(config)
	check(t, err)
	return fmt.Sprintf("<!doctype html><title>attack</title><body><script>const CONFIG = %s;\n%s</script>", text, a.script)
}

// serve runs the server of the page.
func (a *attacker) serve(t *testing.T, config map[string]any) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/page", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		// A report of what the policy forbids goes where the page wants.
		w.Header().Set("Content-Security-Policy-Report-Only", fmt.Sprintf("style-src 'none'; report-uri %s%sattack-report", a.control, config["path"]))
		_, _ = io.WriteString(w, a.page(t, config))
	})
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.FormValue("to"), http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/worker.js", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		w.Header().Set("Service-Worker-Allowed", "/")
		fmt.Fprintf(w, "fetch(%q, {mode: 'no-cors', method: 'POST', body: '{}'})", r.FormValue("to"))
	})
	mux.HandleFunc("/read", func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.read = append(a.read, string(text))
	})
	a.site = serve(t, mux).URL
}

// certain are means that arrive where nothing stops them, from each page and browser.
func certain() []string {
	return []string{
		"fetch-cors", "fetch-no-cors", "fetch-post", "fetch-keepalive", "fetch-credentials", "fetch-header", "fetch-put",
		"fetch-list", "xhr", "beacon", "form-get", "form-post", "form-text", "form-multipart", "img", "img-cors", "script",
		"module", "import", "stylesheet", "preload", "iframe", "object", "embed", "video", "audio", "background", "font",
		"popup", "websocket", "eventsource", "worker",
	}
}

// No page gets through to Vault, by whatever means a browser has, with a token or
// without one. Each means is tried on an address without a guard, too: there it arrives.
func TestBrowsers(t *testing.T) {
	parallel(t)
	for _, b := range browsers() {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.find(t)
			t.Run("page", func(t *testing.T) { t.Parallel(); b.attack(t, false) })
			t.Run("file", func(t *testing.T) { t.Parallel(); b.attack(t, true) })
			t.Run("rebinding", func(t *testing.T) { t.Parallel(); b.rebind(t) })
			t.Run("address bar", func(t *testing.T) { t.Parallel(); b.visit(t) })
		})
	}
}

// A besieged is an agent that browsers may not get through.
type besieged struct {
	*agent
	w       *fixture
	metrics string
}

func newBesieged(t *testing.T) *besieged {
	t.Helper()
	w := newFixture(t, "header")
	b := &besieged{w: w, metrics: mustPort(t)}
	s := w.setup(noPrompt(t))
	s.extra += fmt.Sprintf("telemetry { address = %q }\n", b.metrics)
	b.agent = w.start(t, s)
	return b
}

// config is that of the page.
func (b *besieged) config(targets ...string) map[string]any {
	return map[string]any{"targets": targets, "path": "/v1/" + b.w.path + "-", "token": b.w.token}
}

// refused is how many requests got this answer.
func (b *besieged) refused(t *testing.T, status int) int {
	t.Helper()
	resp, err := http.Get("http://" + b.metrics + "/metrics")
	check(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	check(t, err)
	m := regexp.MustCompile(fmt.Sprintf(`(?m)^stepup_requests_total\{code="%d",[^}]*\} (\d+)`, status)).FindSubmatch(text)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(string(m[1]))
	check(t, err)
	return n
}

// wantUntouched checks that none of it reached Vault, and that a program still does.
func (b *besieged) wantUntouched(t *testing.T, a *attacker) {
	t.Helper()
	for _, s := range b.w.gate.Seen("") {
		if strings.Contains(s.Path, "attack-") {
			t.Errorf("a page reached Vault: %s %s, answered %d", s.Method, s.Path, s.Status)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, text := range a.read {
		if !strings.Contains(text, `{"errors":[`) || strings.Contains(text, "value") {
			t.Errorf("a page could read %q", text)
		}
	}
	request("GET", "auth/token/lookup-self", b.w.token).send(t, b.addr).wantPlain(t, 200)
}

// attack opens the page of an attacker, as a file or from a server.
func (b browser) attack(t *testing.T, file bool) {
	guarded, a := newBesieged(t), newAttacker(t)
	byName := strings.Replace(guarded.addr, "127.0.0.1", "localhost", 1)
	config := guarded.config(guarded.addr, byName, a.control)
	a.serve(t, config)
	url, means := a.site+"/page", append(certain(), "service-worker", "fetch-redirected", "form-redirected", "img-redirected", "import-scripts", "sandbox", "refresh-frame", "report")
	if file {
		path := filepath.Join(tempDir(t), "page.html")
		write(t, path, a.page(t, config))
		url, means = "file://"+path, certain()
	}
	defer guarded.wantUntouched(t, a)
	b.open(t, url)
	waitFor(t, a.arrived, means)
	eventually(t, "stepup has refused as much", func() bool { return guarded.refused(t, http.StatusForbidden) >= 2*len(means) })
}

func waitFor(t *testing.T, r *record, means []string) {
	t.Helper()
	defer func() {
		if missing := r.missing(means); len(missing) > 0 {
			t.Errorf("these did not arrive anywhere: %q", missing)
		}
	}()
	eventually(t, "the browser has tried everything", func() bool { return len(r.missing(means)) == 0 })
}

// rebind opens a page of a name whose address then becomes stepup's: to the browser stepup
// is the page's own server.
func (b browser) rebind(t *testing.T) {
	guarded, a := newBesieged(t), newAttacker(t)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(guarded.addr, "http://"))
	check(t, err)
	origin := "http://" + net.JoinHostPort(rebound, port)
	config := guarded.config(origin)
	config["rebind"] = true
	a.serve(t, config)
	arrived := serveRebound(t, net.JoinHostPort(reboundAddress, port), guarded.addr, a.page(t, config))
	defer guarded.wantUntouched(t, a)
	b.open(t, origin+"/page")
	means := append(certain(), "fetch-same-origin")
	waitFor(t, arrived, means)
	eventually(t, "stepup has refused as much", func() bool { return guarded.refused(t, http.StatusMisdirectedRequest) >= len(means) })
}

// serveRebound serves the page at address until the page has asked for /rebind. Then each
// connection is one to stepup, as with a name whose address has changed.
func serveRebound(t *testing.T, address, agent, page string) *record {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	check(t, err)
	arrived, done := &record{}, make(chan struct{})
	t.Cleanup(func() { _ = ln.Close(); <-done })
	go func() {
		defer close(done)
		var all sync.WaitGroup
		defer all.Wait()
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				serveReboundConn(conn, strings.TrimPrefix(agent, "http://"), page, arrived)
			})
		}
	}()
	return arrived
}

// serveReboundConn answers one request: stepup closes the connection after each
// refusal, too.
func serveReboundConn(conn net.Conn, agent, page string, arrived *record) {
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	const head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s"
	switch r.RequestURI {
	case "/page":
		fmt.Fprintf(conn, head, len(page), page)
		return
	case "/rebind":
		fmt.Fprintf(conn, head, 0, "")
		return
	}
	arrived.add(r.RequestURI)
	up, err := net.Dial("tcp", agent)
	if err != nil {
		return
	}
	defer up.Close()
	// Written as it came, with the Host that the browser sent.
	if err := r.Write(up); err != nil {
		return
	}
	_, _ = io.Copy(conn, up)
}

// visit opens the address of a secret, as a user who has typed it or followed a link in a mail.
func (b browser) visit(t *testing.T) {
	guarded, a := newBesieged(t), newAttacker(t)
	defer guarded.wantUntouched(t, a)
	b.open(t, guarded.addr+"/v1/"+guarded.w.path+"-attack-typed")
	eventually(t, "stepup has refused", func() bool { return guarded.refused(t, http.StatusForbidden) > 0 })
}

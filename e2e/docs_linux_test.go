package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDocs runs the commands of the documents, as a reader does who copies one
// block after the other. In the source of a page, which browsers do not show:
//
//	<!-- run: NAME -->                 the block below is run; all of a NAME in one session
//	<!-- run: NAME, fails -->          it must fail
//	<!-- run: NAME, until COMMAND -->  it is a terminal of its own, and the next
//	                                   block comes when COMMAND has succeeded;
//	                                   "ready" is an agent that says so in its log
//	<!-- run: NAME, enterprise -->     the server is behind the gate, which enforces mfa_methods
//	<!-- file: NAME PATH -->           the block below is written to that file
//	<!-- output: NAME -->              the block below is what the last one printed;
//	                                   … is anything
//	<!-- setup: NAME, newline, commands, newline, -->  what readers have already
//
// Each session has a home, a runtime folder and, unless it starts one, a Vault
// development server of its own, and a user who answers every prompt. That
// the marks are there and whole is a test of the root (docs_test.go).
func TestDocs(t *testing.T) {
	parallel(t)
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("needs bash")
	}
	files, err := filepath.Glob("../docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files in docs, %v", len(files), err)
	}
	ran := 0
	for _, file := range append(files, "../README.md", "../CONTRIBUTING.md") {
		page, err := os.ReadFile(file)
		check(t, err)
		names, sessions := readSessions(string(page))
		for _, name := range names {
			ran++
			t.Run(strings.TrimSuffix(filepath.Base(file), ".md")+"/"+name, func(t *testing.T) {
				t.Parallel()
				newDocSession(t, sessions[name]).run(t)
			})
		}
	}
	if ran == 0 {
		t.Error("no document has a block to run")
	}
}

// A docStep is one block of a session.
type docStep struct {
	kind string // run, file, output, setup
	text string
	file string // of kind file
	wait string // the command that says that the block, a terminal of its own, is ready
	not  bool   // it must fail
	gate bool
}

func readSessions(page string) (names []string, sessions map[string][]docStep) {
	sessions = map[string][]docStep{}
	marks := regexp.MustCompile("(?ms)^<!-- (run|file|output): ([a-z0-9-]+)([^\n]*) -->\n```[a-z]*\n(.*?)^```$|^<!-- (setup): ([a-z0-9-]+)\n(.*?)^-->$")
	for _, m := range marks.FindAllStringSubmatch(page, -1) {
		step := docStep{kind: m[1] + m[5], text: m[4] + m[7]}
		name, options := m[2]+m[6], m[3]
		if step.kind == "file" {
			step.file = strings.TrimSpace(options)
			options = ""
		}
		for option := range strings.SplitSeq(options, ", ") {
			command, waits := strings.CutPrefix(option, "until ")
			switch {
			case waits:
				step.wait = command
			case option == "fails":
				step.not = true
			case option == "enterprise":
				step.gate = true
			}
		}
		if _, known := sessions[name]; !known {
			names = append(names, name)
		}
		sessions[name] = append(sessions[name], step)
	}
	return names, sessions
}

// A docSession is one reader at one machine.
type docSession struct {
	steps   []docStep
	dir     string // the home and everything else
	put     *strings.Replacer
	env     []string
	process *os.Process
}

func newDocSession(t *testing.T, steps []docStep) *docSession {
	t.Helper()
	stepup, err := world.stepup()
	check(t, err)
	s := &docSession{steps: steps, dir: tempDir(t)}
	for _, sub := range []string{"bin", "home", "run", "out"} {
		check(t, os.Mkdir(filepath.Join(s.dir, sub), 0o700))
	}
	examples, err := filepath.Abs("../examples")
	check(t, err)
	for link, to := range map[string]string{"bin/stepup": stepup, "bin/vault": world.vault, "home/examples": examples} {
		check(t, os.Symlink(to, filepath.Join(s.dir, link)))
	}
	server := s.server(t)
	// Longer ones first: the replacer takes the first that fits.
	s.put = strings.NewReplacer(
		"https://vault.example.com:8200", server, "http://127.0.0.1:8200", server,
		"127.0.0.1:8200", strings.TrimPrefix(server, "http://"),
		"127.0.0.1:8100", mustPort(t), "127.0.0.1:9108", mustPort(t))
	s.env = cleanEnv(filepath.Join(s.dir, "home"), "XDG_RUNTIME_DIR="+filepath.Join(s.dir, "run"), "TERM=dumb",
		"DOCS="+filepath.Join(s.dir, "out"), "GORACE=atexit_sleep_ms=0")
	for i, kv := range s.env {
		if path, ok := strings.CutPrefix(kv, "PATH="); ok {
			s.env[i] = "PATH=" + filepath.Join(s.dir, "bin") + ":" + path
		}
	}
	return s
}

// server is the address of the session's Vault. Nobody listens there yet when the
// session starts it itself.
func (s *docSession) server(t *testing.T) string {
	t.Helper()
	if slices.ContainsFunc(s.steps, func(d docStep) bool { return strings.Contains(d.text, "vault server -dev") }) {
		return "http://" + mustPort(t)
	}
	srv, err := startBare(filepath.Join(s.dir, "vault"), "")
	check(t, err)
	t.Cleanup(srv.stop)
	if !slices.ContainsFunc(s.steps, func(d docStep) bool { return d.gate }) {
		return srv.addr
	}
	return startEnterprise(t, srv)
}

// script is the session for bash. What each step prints is in $DOCS, by its number.
func (s *docSession) script() string {
	var b strings.Builder
	b.WriteString("set -euo pipefail\n")
	// Nothing outlives a test binary that is killed.
	fmt.Fprintf(&b, "(while kill -0 %d 2>/dev/null; do sleep 1; done; kill -KILL 0) &\n", os.Getpid())
	// On a terminal, vault asks for a password and ends a single field with a newline.
	fmt.Fprintf(&b, `vault() {
	case "$1 ${2-}" in
	"login "*) command vault "$@" password=%s ;;
	*" -field=url") command vault "$@" && echo ;;
	*) command vault "$@" ;;
	esac
}
ready() { grep -q msg=ready "$terminal"; }
`, docPassword)
	for i, step := range s.steps {
		text := s.put.Replace(step.text)
		fmt.Fprintf(&b, "echo %d >$DOCS/at\n", i)
		out := fmt.Sprintf("$DOCS/%d.out", i)
		switch {
		case step.kind == "output":
		case step.kind == "file":
			fmt.Fprintf(&b, "mkdir -p \"$(dirname %[1]s)\"; cat >%[1]s <<'END_OF_FILE'\n%sEND_OF_FILE\n", step.file, text)
		case step.wait != "":
			fmt.Fprintf(&b, "terminal=%[2]s\n(\n%[1]s) >%[2]s 2>&1 </dev/null &\n", text, out)
			fmt.Fprintf(&b, "until %s >$DOCS/wait 2>&1; do kill -0 $!; sleep 0.1; done\n", s.put.Replace(step.wait))
		case step.not:
			fmt.Fprintf(&b, "exec >%s 2>&1\nif (\n%s); then echo this should have failed; exit 1; fi\n", out, text)
		default:
			fmt.Fprintf(&b, "exec >%s 2>&1\n%s", out, text)
		}
		// The first configuration has the usual port; this session has another.
		b.WriteString("[ ! -f ~/.config/stepup/stepup.hcl ] || sed -i " +
			s.put.Replace("s/127.0.0.1:81''00/127.0.0.1:8100/") + " ~/.config/stepup/stepup.hcl\n")
	}
	return b.String()
}

func (s *docSession) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	script := filepath.Join(s.dir, "script")
	write(t, script, s.script())
	cmd := exec.CommandContext(ctx, "bash", script)
	cmd.Dir, cmd.Env = filepath.Join(s.dir, "home"), s.env
	// A session has no terminal of the tests', and what it leaves running can be
	// ended as one.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	answered := s.responder(ctx, t)
	err := cmd.Start()
	check(t, err)
	s.process = cmd.Process
	err = cmd.Wait()
	s.end(t)
	cancel()
	<-answered
	if err != nil {
		t.Fatalf("%v at block %s\n%s", err, s.read("at"), s.everything())
	}
	t.Log(s.everything()) // shown by -v
	s.compare(t)
}

// end stops what the session has started: agents in good order, everything else
// without a word.
func (s *docSession) end(t *testing.T) {
	t.Helper()
	group := -s.process.Pid
	if err := syscall.Kill(group, syscall.SIGTERM); errors.Is(err, syscall.ESRCH) {
		return
	}
	for _, socket := range s.sockets() {
		eventually(t, "the agent has ended", func() bool {
			conn, err := net.Dial("unix", socket)
			if err == nil {
				_ = conn.Close()
			}
			return err != nil
		})
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
}

// sockets are those on which the session's agents take answers.
func (s *docSession) sockets() (all []string) {
	for _, pattern := range []string{"run/stepup/control.sock", "run/stepup/*/control.sock"} {
		found, _ := filepath.Glob(filepath.Join(s.dir, pattern)) // the patterns are well-formed
		all = append(all, found...)
	}
	return all
}

// compare holds what was printed against what the document says.
func (s *docSession) compare(t *testing.T) {
	t.Helper()
	last := -1
	for i, step := range s.steps {
		if step.kind == "run" {
			last = i
		}
		if step.kind != "output" {
			continue
		}
		have := s.read(fmt.Sprintf("%d.out", last))
		want := strings.ReplaceAll(regexp.QuoteMeta(s.put.Replace(step.text)), "…", "(?s:.*)")
		if !regexp.MustCompile(`^` + strings.TrimSpace(want) + `$`).MatchString(strings.TrimSpace(have)) {
			t.Errorf("the document says\n%s\nand it was\n%s", step.text, have)
		}
	}
}

func (s *docSession) read(name string) string {
	text, err := os.ReadFile(filepath.Join(s.dir, "out", name))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}

// everything is all blocks with their output, for a failed test.
func (s *docSession) everything() string {
	var b strings.Builder
	for i, step := range s.steps {
		if step.kind == "run" || step.kind == "setup" {
			fmt.Fprintf(&b, "--- block %d\n%s--- prints\n%s\n", i, s.put.Replace(step.text), s.read(fmt.Sprintf("%d.out", i)))
		}
	}
	return b.String()
}

// pause between two looks for a question.
const pause = 50 * time.Millisecond

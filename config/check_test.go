package config

import (
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// head is a file to which one thing is added: lines 1 to 3.
const head = `vault "main" { address = "https://vault.example:8200" }
listener "tcp" { address = "127.0.0.1:8100" }
mfa_method "m" { type = "totp" }
`

func rulesWith(arguments string) string {
	return "step_up \"r\" {\n  paths = [\"kv/*\"]\n  methods = [\"m\"]\n  grant \"header\" {}\n" + arguments + "\n}\n"
}

// Each rule of the grammar, by the smallest file that breaks it: what is said,
// and on which line.
func TestErrors(t *testing.T) {
	t.Parallel()
	long := "/" + strings.Repeat("x", 104)
	tests := []struct {
		name string
		src  string
		want string // "LINE: part of the summary"
	}{
		{"unknown block", head + "vaults {}", `4: unknown block "vaults"`},
		{"unknown argument", head + "cache { ttl = 1 }", `4: unknown argument "ttl" in cache`},
		{"argument at top", head + "level = \"info\"", `4: unknown argument "level"`},
		{"nested block", head + "cache {\n  memory {}\n}", `5: unknown block "memory" in cache`},
		{"argument in rule", head + rulesWith("path = 1"), `8: unknown argument "path" in step_up "r"`},
		{"argument twice", head + "cache {\n  store = \"memory\"\n  store = \"memory\"\n}", "6: syntax: attribute redefined"},
		{"no vault", `listener "tcp" { address = "127.0.0.1:1" }`, "1: there is no vault block"},
		{"no listener", `vault "a" { address = "http://a" }`, "1: there is no listener block"},
		{"empty file", "", "1: there is no vault block"},
		{"vault without name", "vault {}\n" + head, "1: vault needs a name"},
		{"listener with two names", "listener \"tcp\" \"x\" {}\n" + head, "1: listener has more than one name"},
		{"blank name", "vault \" \" {}\n" + head, "1: the name is empty"},
		{"long name", "vault \"" + strings.Repeat("x", 129) + "\" {}\n" + head, "1: the name is too long"},
		{"unprintable name", "vault \"a\u202eb\" {}\n" + head, "1: the name has a character"},
		{"several vaults", "vault \"b\" { address = \"https://b\" }\n" + head, "3: the listener does not say which vault"},
		{"port 65536", `listener "tcp" { address = "127.0.0.1:65536" }` + "\n" + head, "1: \"127.0.0.1:65536\" has no usable port"},
		{"listener zone", `listener "tcp" { address = "[::1%lo]:1" }` + "\n" + head, "1: listener \"tcp\" is not on a loopback"},
		{"mapped address twice", `listener "tcp" { address = "[::ffff:127.0.0.1]:8100" }` + "\n" + head, "3: two listeners use the address"},
		{"mapped address of another", `listener "tcp" { address = "[::ffff:192.0.2.1]:8100" }` + "\n" + head, "1: listener \"tcp\" is not on a loopback"},
		{"socket of 105 bytes", "listener \"unix\" { address = \"" + long + "\" }\n" + head, "1: the path of the unix socket has 105 bytes"},
		{"abstract socket", "listener \"unix\" { address = \"@stepup\" }\n" + head, "1: address is not an absolute path"},
		{"vault on telemetry", `vault "x" { address = "http://localhost:9108" }` + "\n" + `listener "tcp" { address = "127.0.0.1:1" }` + "\n" + `telemetry { address = "127.0.0.1:9108" }`, `1: vault "x" points at stepup's own telemetry on line 3`},
		{"telemetry as the unspecified address", head + `telemetry { address = "0.0.0.0:9108" }`, "4: telemetry is not on a loopback address"},
		{"telemetry on a listener", head + `telemetry { address = "localhost:8100" }`, "4: two listeners use the address"},
		{"unknown notify", head + `prompt { notify = "always" }`, `4: notify cannot be "always"`},
		{"relative pinentry", head + `prompt { pinentry = "bin/pinentry" }`, `4: pinentry is not an absolute path: "bin/pinentry"`},
		{"pinentry with arguments", head + `prompt { pinentry = ["/usr/bin/rofi", "-x"] }`, `4: wrong type: this must be text in quotes`},
		{"empty pinentry", head + `prompt { pinentry = "" }`, `4: pinentry is empty`},
		{"vault port 0", `vault "x" { address = "https://a:0" }` + "\n" + `listener "unix" { address = "/a" }`, "1: \"https://a:0\" has no usable port"},
		{"vault empty port", `vault "x" { address = "https://a:" }` + "\n" + `listener "unix" { address = "/a" }`, "1: \"https://a:\" has no usable port"},
		{"vault fragment", `vault "x" { address = "https://a#" }` + "\n" + `listener "unix" { address = "/a" }`, "1: \"https://a#\" has a query or fragment"},
		{"vault user", `vault "x" { address = "https://u@a" }` + "\n" + `listener "unix" { address = "/a" }`, "1: the address has a user or password"},
		{"vault opaque", `vault "x" { address = "https:a" }` + "\n" + `listener "unix" { address = "/a" }`, "1: \"https:a\" has no host"},
		{"own listener by default port", `vault "x" { address = "http://localhost" }` + "\n" + `listener "tcp" { address = "127.0.0.1:80" }`, `1: vault "x" points at stepup's own listener "tcp" on line 2`},
		{"own listener as 127.0.0.2", `vault "x" { address = "https://127.0.0.2:81" }` + "\n" + `listener "tcp" { address = "127.0.0.2:81" }`, `1: vault "x" points at`},
		{"own listener on ::1", `vault "x" { address = "http://localhost.:81" }` + "\n" + `listener "tcp" { address = "[::1]:81" }`, `1: vault "x" points at`},
		{"not a file", `vault "x" {` + "\n  address = \"https://a\"\n  ca_cert = \"${home}\"\n}", "3: ca_cert cannot be read"},
		{"command without word", head + `prompt { command = "x" }`, "4: wrong type: this must be a list of texts"},
		{"relative program", head + `prompt {` + "\n  use = [\"command\"]\n  command = [\"./ask\"]\n}", "6: command is not an absolute path"},
		{"program at home", head + `prompt {` + "\n  use = [\"command\"]\n  command = [\"~/ask\"]\n}", "6: command is not an absolute path"},
		{"folder for a log", head + `audit { file = "${env.FOLDER}" }`, "4: file is a folder"},
		{"syslog in a folder", head + `audit { syslog = "${env.FOLDER}" }`, "4: syslog is a folder"},
		{"a textfile with another ending", head + `telemetry { textfile = "/var/lib/stepup.txt" }`, `4: "/var/lib/stepup.txt" does not end in .prom`},
		{"folder for a socket", head + `listener "unix" { address = "${env.FOLDER}" }`, "4: address is a folder"},
		{"two rules of one name", head + rulesWith(``) + rulesWith(`vault = "other"`), `10: there are two step_up blocks "r"`},
		{"grant without label", head + "step_up \"r\" {\n  paths = [\"a\"]\n  grant {}\n}", "6: grant needs"},
		{"password as list", head + "step_up \"r\" {\n  paths = [\"a\"]\n  grant \"login\" {\n    path = \"auth/a/login/b\"\n    password = [\"x\"]\n  }\n}", "8: wrong type: this must be text"},
		{"huge number", head + "prompt { attempts = 1e400 }", "4: attempts must be a whole number"},
		{"huge size", head + "prompt { max_pending = 99999999999999999999 }", "4: max_pending must be a whole number"},
		{"negated text", head + `log { level = -"info" }`, "4: this expression is not possible"},
		{"condition", head + `log { level = true ? "info" : "warn" }`, "4: this expression is not possible"},
		{"directive", head + `log { level = "%{ if true }info%{ endif }" }`, "4: this expression is not possible"},
		{"number in text", head + `log { level = "${5}info" }`, "4: this expression is not possible"},
		{"env without name", head + `log { level = "${env}" }`, "4: env needs the name"},
		{"env with two names", head + `log { level = "${env.A.B}" }`, "4: env needs the name"},
		{"passcode of a push method", head + "mfa_method \"x\" {\n  type     = \"okta\"\n  passcode = true\n}", "6: a method of type okta has no choice"},
		{"passcode from a seed", head + "mfa_method \"x\" {\n  type = \"duo\"\n  passcode = true\n  passcode_source = \"keyring\"\n}", "7: passcode and passcode_source exclude"},
		{"policy without name", head + rulesWith("sentinel { methods = [\"m\"] }"), "8: sentinel needs"},
		{"policy without methods", head + rulesWith("sentinel \"root/p\" {}"), "8: sentinel \"root/p\" lacks methods"},
		{"policy with no methods", head + rulesWith("sentinel \"root/p\" { methods = [] }"), "8: methods is an empty list"},
		{"a type in place of a name", head + `login_mfa { prefer = ["m", "totp"] }`, `4: prefer names a type of methods: "totp"`},
		{"policy with a method that is not declared", head + rulesWith("sentinel \"p\" { methods = [\"x\"] }"), `8: sentinel "p" names mfa_method "x", which is not declared`},
		{"policy twice", head + rulesWith("sentinel \"p\" { methods = [\"m\"] }\nsentinel \"root/p\" { methods = [\"m\"] }"), `9: sentinel names "root/p" twice`},
		{"policy and token", head + "step_up \"r\" {\n  paths = [\"a\"]\n  methods = [\"m\"]\n  sentinel \"p\" { methods = [\"m\"] }\n  grant \"token\" { path = \"auth/token/create\" }\n}", `7: a sentinel block does not go with grant "token"`},
		{"argument in a policy", head + rulesWith("sentinel \"p\" {\n  methods = [\"m\"]\n  x = 1\n}"), `10: unknown argument "x" in sentinel "p"`},
		{"no method at all", strings.Replace(head, "mfa_method \"m\" { type = \"totp\" }", "", 1) + rulesWith(""), `6: step_up "r" names mfa_method "m", which is not declared`},
		{"size of a wrong type", "vault \"a\" {\n  max_kept_body = true\n}", "2: wrong type: this must be a number of bytes"},
		{"flag for a number", head + "prompt { attempts = true }", "4: wrong type: this must be a whole number, not true or false"},
		{"invalid UTF-8", head + "log { level = \"\xff\" }", "4: syntax: invalid character encoding"},
		{"too large", head + strings.Repeat("#\n", 256<<10/2), "1: the configuration is larger than 256 KiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, diags := Parse("stepup.hcl", []byte(tt.src), fixed())
			if cfg != nil {
				t.Fatal("loads")
			}
			var got []string
			for _, line := range diags.lines(hcl.DiagError) {
				got = append(got, strings.TrimPrefix(line, "stepup.hcl:"))
				if strings.HasPrefix(got[len(got)-1], tt.want) {
					return
				}
			}
			t.Errorf("want %q among %q", tt.want, got)
		})
	}
}

// What looks odd and is right.
func TestAccepted(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, src string }{
		{"two listeners on any free port", `vault "a" { address = "http://127.0.0.1:8200" }
listener "tcp" { address = "127.0.0.1:0" }
listener "tcp" { address = "127.0.0.1:0" }`},
		{"socket of 104 bytes", head + "listener \"unix\" { address = \"/" + strings.Repeat("x", 103) + "\" }"},
		{"vault on another port of this host", `vault "a" { address = "http://localhost:8200" }
listener "tcp" { address = "127.0.0.1:8100" }`},
		{"vault that cannot be resolved now", `vault "a" { address = "http://nowhere.example:8100" }
listener "tcp" { address = "127.0.0.1:8100" }`},
		{"empty namespace", `vault "a" {
  address   = "https://a"
  namespace = ""
}
listener "unix" { address = "/run/a.sock" }`},
		{"dollar sign", head + `login_mfa { prefer = ["a$${b}"] }`},
		{"method of a login that is not declared", head + `login_mfa { prefer = ["other"] }`},
		{"empty singletons", head + "login_mfa {}\nprompt {}\ncache {}\nlog {}"},
		{"variables without quotes", head + "audit { file = state_dir }"},
		{"methods of a policy alone", head + "step_up \"p\" {\n  paths = [\"a\"]\n  sentinel \"p\" { methods = [\"m\"] }\n  grant \"header\" {}\n}"},
		{"short timeout without a push", "vault \"a\" {\n  address = \"https://a\"\n  timeout = \"5s\"\n}\nlistener \"unix\" { address = \"/a\" }"},
		{"program in the path", head + `prompt {` + "\n  use = [\"command\"]\n  command = [\"ask\"]\n}"},
		{"byte order mark", "\ufeff" + head},
		{"windows line ends", strings.ReplaceAll(head, "\n", "\r\n")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, diags := Parse("stepup.hcl", []byte(tt.src), fixed()); len(diags.All()) > 0 {
				t.Error(report(t, diags))
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg, diags := Load(filepath.Join(dir, "stepup.hcl"), fixed())
	got := report(t, diags)
	if cfg != nil || !strings.Contains(got, "hint: `stepup config init --config FILE --address") || !strings.Contains(got, dir) {
		t.Errorf("got %v, %q", cfg, got)
	}
	if _, diags = Load(dir, fixed()); !strings.Contains(report(t, diags), "not a regular file") {
		t.Error(report(t, diags))
	}
}

func TestLinkedSockets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	mkdir(t, real)
	symlink(t, real, link)
	src := `vault "a" { address = "unix://` + filepath.ToSlash(link) + `/x.sock" }
listener "unix" { address = "` + filepath.ToSlash(real) + `/x.sock" }`
	if _, diags := Parse("stepup.hcl", []byte(src), fixed()); !strings.Contains(report(t, diags), "own listener") {
		t.Errorf("a socket behind a link is not recognised: %s", report(t, diags))
	}
}

func TestKeyPair(t *testing.T) {
	t.Parallel()
	cert, key := keyPair(t)
	_, otherKey := keyPair(t)
	tests := []struct{ name, ca, cert, key, want string }{
		{"other key", cert, cert, otherKey, "do not work together"},
		{"key as certificate", cert, key, cert, "do not work together"},
		{"authority without certificate", key, cert, key, "there is no PEM certificate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			src := "vault \"a\" {\n address = \"https://a\"\n ca_cert = \"" + filepath.ToSlash(tt.ca) + "\"\n client_cert = \"" +
				filepath.ToSlash(tt.cert) + "\"\n client_key = \"" + filepath.ToSlash(tt.key) + "\"\n}\n"
			_, diags := Parse("stepup.hcl", []byte(src), fixed())
			if got := report(t, diags); !strings.Contains(got, tt.want) {
				t.Errorf("want %q in:\n%s", tt.want, got)
			}
		})
	}
}

// The tags can be read: a limit with a slip in it would be 0.
func TestLimits(t *testing.T) {
	t.Parallel()
	for path, s := range grammar() {
		for _, f := range s.args {
			limit, limited := f.Tag.Lookup("max")
			good := false
			switch f.Type {
			case reflect.TypeFor[time.Duration]():
				d, err := time.ParseDuration(limit)
				good = err == nil && d > 0
			case reflect.TypeFor[int64]():
				n, ok := parseSize(limit)
				good = ok && n > 0
			default:
				n, err := strconv.Atoi(limit)
				good = err == nil && n > 0 || !limited && f.Type != reflect.TypeFor[int]()
			}
			if !good {
				t.Errorf("%s: the limit of %s is %q", path, wordOf(f), limit)
			}
		}
	}
}

// A second block of a kind is said and not read: it may lack what the first has.
func TestSecondBlock(t *testing.T) {
	t.Parallel()
	for name, src := range map[string]string{
		"prompt":    "prompt {\n  use = [\"command\"]\n  command = [\"x\"]\n}\nprompt {}",
		"login_mfa": "login_mfa {\n  single_phase = true\n  single_phase_methods = [\"m\"]\n}\nlogin_mfa {}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, diags := Parse("stepup.hcl", []byte(head+src), fixed())
			if got, want := report(t, diags), "error: there are two "+name+" blocks\n"; !strings.HasPrefix(got, want) || len(diags.All()) != 1 {
				t.Error(got)
			}
		})
	}
}

// Nesting that would overflow the parser's stack ends the process, which no
// test can catch: getting past this one is the proof.
func TestDeepNesting(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"(", "[", "{", "!", "-", "\"${", "a ? b : ", "\"%{ if a }", "a.*", "a && ", "a[", "<<A\n${", "\nx {\n"} {
		t.Run(unit, func(t *testing.T) {
			t.Parallel()
			src := "a = " + strings.Repeat(unit, (256<<10-4)/len(unit))
			if cfg, diags := Parse("stepup.hcl", []byte(src), fixed()); cfg != nil || !diags.HasErrors() {
				t.Errorf("%.20q loads", src)
			}
		})
	}
}

// A pinentry that would not ask is warned of: it may be there where the agent runs.
func TestPinentry(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ src, want string }{
		"there":           {`prompt { pinentry = "/bin/sh" }`, ""},
		"in PATH":         {`prompt { pinentry = "sh" }`, ""},
		"missing":         {`prompt { pinentry = "/nowhere/pinentry" }`, `4: pinentry names no program that can be run here: "/nowhere/pinentry"`},
		"not in PATH":     {`prompt { pinentry = "no-such-pinentry" }`, `4: pinentry names no program that can be run here: "no-such-pinentry"`},
		"a folder":        {`prompt { pinentry = "/" }`, `4: pinentry names no program that can be run here: "/"`},
		"without desktop": {"prompt {\n  use = [\"attached\"]\n  pinentry = \"sh\"\n}", `6: pinentry has no effect, because use does not name "desktop"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, diags := Parse("stepup.hcl", []byte(head+tt.src), fixed())
			if cfg == nil || cfg.Prompt.Pinentry == "" {
				t.Fatal(diags.Err())
			}
			warnings := strings.Join(diags.Warnings(), "\n")
			if (tt.want == "") != (warnings == "") || !strings.Contains(warnings, tt.want) {
				t.Errorf("warned %q, want %q", warnings, tt.want)
			}
		})
	}
}

// A notify that no desktop is there for is warned of, where it is meant to show something.
func TestNotify(t *testing.T) {
	t.Parallel()
	const attached = "prompt {\n  use = [\"attached\"]\n"
	for src, want := range map[string]string{
		"prompt { notify = \"each\" }":       "",
		attached + "}":                       "",
		attached + "  notify = \"never\"\n}": "",
		attached + "  notify = \"first\"\n}": `6: notify has no effect, because use does not name "desktop"`,
	} {
		cfg, diags := Parse("stepup.hcl", []byte(head+src), fixed())
		if cfg == nil {
			t.Fatal(diags.Err())
		}
		if got := strings.Join(diags.Warnings(), "\n"); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: warned %q, want %q", src, got, want)
		}
	}
}

// A path that lacks data/ is warned of where the file itself shows that its store is one of
// KV version 2, and nowhere else.
func TestKVVersion(t *testing.T) {
	t.Parallel()
	one := func(name, arguments, paths string) string {
		return "step_up \"" + name + "\" { # of one path\n  " + arguments + "\n  paths = [" + paths + "]\n  methods = [\"m\"]\n  grant \"header\" {}\n}\n"
	}
	shows := one("a", "", `"kv/data/deploy/*"`)
	for name, tt := range map[string]struct{ src, want string }{
		"without data":       {shows + one("b", "", `"kv/prod/*"`), `12: no secret of a KV store of version 2 has the path "kv/prod/*"`},
		"in one rule":        {one("a", "", `"kv/data/x", "kv/prod/*"`), `6: no secret`},
		"shown by metadata":  {one("a", "", `"kv/metadata/*"`) + one("b", "", `"kv/prod/*"`), `12: no secret`},
		"the later one":      {one("b", "", `"kv/prod/*"`) + shows, `6: no secret`},
		"right":              {shows + one("b", "", `"kv/data/prod/*"`), ""},
		"all of the store":   {shows + one("b", "", `"kv/*"`), ""},
		"another store":      {shows + one("b", "", `"secret/prod/*"`), ""},
		"version 1":          {one("a", "", `"kv/prod/*"`) + one("b", "", `"kv/dev/*"`), ""},
		"another engine":     {shows + one("b", "", `"transit/sign/+"`), ""},
		"another namespace":  {one("a", `namespace = "ns1"`, `"kv/data/deploy/*"`) + one("b", "", `"kv/prod/*"`), ""},
		"the same namespace": {one("a", `namespace = "ns1/"`, `"kv/data/deploy/*"`) + one("b", `namespace = "ns1"`, `"kv/prod/*"`), `12: no secret`},
		"a variable":         {shows + one("b", "", `"kv/${env.TEAM}/*"`), `12: no secret of a KV store of version 2 has the path "kv/${env.TEAM}/*"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opt := fixed()
			opt.Env = func(string) string { return "hunter2" }
			_, diags := Parse("stepup.hcl", []byte(head+tt.src), opt)
			got := report(t, diags)
			if !strings.Contains(got, tt.want) && !slices.ContainsFunc(diags.Warnings(), func(w string) bool { return strings.Contains(w, tt.want) }) {
				t.Errorf("%s\nwant %q", got, tt.want)
			}
			if (tt.want == "") != (len(diags.All()) == 0) || strings.Contains(got, "hunter2") {
				t.Errorf("%d diagnostics: %s", len(diags.All()), got)
			}
		})
	}
}

// A timeout that would end a push is not used, and said.
func TestShortTimeout(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]time.Duration{"totp": 5 * time.Second, "okta": pushTimeout} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			src := "mfa_method \"m\" { type = \"" + kind + "\" }\nvault \"a\" {\n  address = \"https://a\"\n  timeout = \"5s\"\n}\nlistener \"unix\" { address = \"/a\" }"
			cfg, diags := Parse("stepup.hcl", []byte(src), fixed())
			if diags.HasErrors() || cfg.Vaults[0].Timeout != want {
				t.Fatalf("%v", diags.Err())
			}
			if warned := slices.ContainsFunc(diags.Warnings(), func(w string) bool {
				return strings.Contains(w, "4: timeout is 5s, which is shorter than a push takes")
			}); warned != (kind == "okta") {
				t.Errorf("warned %q", diags.Warnings())
			}
		})
	}
}

// Rules that do not do what they look like are said.
func TestOddRules(t *testing.T) {
	t.Parallel()
	one := func(name, more, paths string) string {
		return "step_up \"" + name + "\" {\n  paths = [" + paths + "]\n  methods = [\"m\"]\n  grant \"header\" {}\n  " + more + "\n}\n"
	}
	for name, tt := range map[string]struct{ src, want string }{
		"hidden":              {one("all", "", `"kv/data/*"`) + one("prod", "", `"kv/data/prod/*", "kv/data/x"`), `10: step_up "prod" is never used: step_up "all", on line 4, takes all of its requests`},
		"hidden by the third": {one("a", "", `"x"`) + one("b", "", `"kv/data/+"`) + one("c", "", `"kv/data/y"`), `16: step_up "c" is never used: step_up "b"`},
		"the right order":     {one("prod", "", `"kv/data/prod/*"`) + one("all", "", `"kv/data/*"`), ""},
		"one path is left":    {one("all", "", `"kv/data/*"`) + one("prod", "", `"kv/data/prod/*", "transit/x"`), ""},
		"for other requests":  {one("all", `capabilities = ["read"]`, `"kv/data/*"`) + one("prod", "", `"kv/data/prod/*"`), ""},
		"in a namespace":      {one("all", "", `"kv/data/*"`) + one("prod", `namespace = "team"`, `"kv/data/prod/*"`), ""},
		"an empty segment":    {one("a", "", `"kv//data/x"`), `5: no request has the path "kv//data/x"`},
		"dots in a path":      {one("a", "", `"kv/data/../x*"`), `5: no request has the path "kv/data/../x*"`},
		"a hidden file":       {one("a", "", `"kv/data/.x", "kv/data/.*", "kv/data/"`), ""},
		"a plus in a segment": {one("a", "", `"kv/data/team+x/*"`), `5: a + in "kv/data/team+x/*" stands for itself`},
		"a plus alone":        {one("a", "", `"kv/data/+/x"`), ""},
		"declared as a type":  {"mfa_method \"totp\" { type = \"totp\" }\nlogin_mfa { prefer = [\"totp\"] }\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, diags := Parse("stepup.hcl", []byte(head+tt.src), fixed())
			warned := strings.Join(diags.Warnings(), "\n")
			if diags.HasErrors() || !strings.Contains(warned, tt.want) || (tt.want == "") != (warned == "") {
				t.Errorf("warns %q, want %q; errors %v", warned, tt.want, diags.Err())
			}
		})
	}
}

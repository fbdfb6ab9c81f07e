package config

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/config/paths"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/vault-stepup/stepup/agent/rule"
)

// A fixture is a folder with etc/stepup/stepup.hcl, which is shared, and own/stepup.hcl.
type fixture struct {
	dir string
	opt Options
}

// newFixture writes the files of a txtar archive. DIR in them is the folder.
func newFixture(t *testing.T, archive string) fixture {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("a shared file belongs to the administrators there")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{dir: dir, opt: fixed()}
	f.opt.Shared, f.opt.Admin = filepath.Join(dir, "etc/stepup/stepup.hcl"), os.Geteuid()
	for _, file := range txtar.Parse([]byte(archive)).Files {
		f.write(t, file.Name, string(file.Data))
	}
	return f
}

func (f fixture) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", f.dir)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (f fixture) own() string { return filepath.Join(f.dir, "own/stepup.hcl") }

// says is what a person reads about the files, without the folder.
func (f fixture) says(t *testing.T) string {
	t.Helper()
	_, diags := Load(f.own(), f.opt)
	var b strings.Builder
	if err := diags.Write(&b, 0, false); err != nil { // lines would break elsewhere in another folder
		t.Fatal(err)
	}
	return strings.ReplaceAll(b.String(), f.dir, "DIR")
}

const shared = `-- etc/stepup/stepup.hcl --
vault "corp" { address = "https://vault.example:8200" }
listener "tcp" { address = "127.0.0.1:8100" }
mfa_method "m" { type = "totp" }
`

// ruleOf is a rule for one path.
func ruleOf(name, more string) string {
	return "step_up \"" + name + "\" {\n  paths = [\"kv/" + name + "\"]\n  methods = [\"m\"]\n  grant \"header\" {}\n  " + more + "\n}\n"
}

// The ttl of a locked rule is a limit for what the person may choose at a question; that of
// another one is not.
func TestLockedTTL(t *testing.T) {
	t.Parallel()
	token := func(name, inRule, inGrant string) string {
		return "step_up \"" + name + "\" {\n  paths = [\"kv/" + name + "\"]\n  methods = [\"m\"]\n  " + inRule + "\n" +
			"  grant \"token\" {\n    path = \"auth/token/create/x\"\n    ttl = \"5m\"\n    " + inGrant + "\n  }\n}\n"
	}
	f := newFixture(t, shared+token("locked", "locked = true", "")+token("grant", "", "locked = true")+
		token("free", "", "")+"-- own/stepup.hcl --\n"+token("own", "", ""))
	c, diags := Load(f.own(), f.opt)
	if c == nil {
		t.Fatal(report(t, diags))
	}
	got := make(map[string]bool)
	for _, r := range c.Rules {
		got[r.Name] = r.Grant.FixedTTL
	}
	if diff := cmp.Diff(map[string]bool{"locked": true, "grant": true, "free": false, "own": false}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The order of files is that of blocks, and of the rules among them.
func TestOrderOfFiles(t *testing.T) {
	t.Parallel()
	all := func(name string) string { return ruleOf(name, "") }
	f := newFixture(t, shared+ruleOf("shared-first", "")+ruleOf("shared-locked", "locked = true")+`include "more/*.hcl"
`+ruleOf("shared-last", "")+`-- etc/stepup/more/b.hcl --
`+all("more-b")+`-- etc/stepup/more/.hidden.hcl --
nonsense
-- etc/stepup/more/a.hcl --
`+all("more-a")+`-- etc/stepup/stepup.d/10-x.hcl --
`+all("shared-folder")+`-- own/stepup.hcl --
include "${env.FOLDER}/../DIR/own/nothing/*.hcl" {}
`+all("own-first")+`include "sub/one.hcl" # with a comment
include "DIR/own/sub/one.hcl"
`+all("own-last")+`-- own/sub/one.hcl --
`+all("own-one")+`include "../two.hcl"
-- own/two.hcl --
`+all("own-two")+`-- own/stepup.d/z.hcl --
`+all("own-z")+`-- own/stepup.d/y.hcl --
`+all("own-y")+`-- own/stepup.d/y.hcl.bak --
nonsense
`)
	c, diags := Load(f.own(), f.opt)
	if c == nil {
		t.Fatal(report(t, diags))
	}
	var names []string
	for _, r := range c.Rules {
		names = append(names, r.Name)
	}
	want := strings.Fields("shared-first shared-locked own-first own-one own-two own-last own-y own-z more-a more-b shared-last shared-folder")
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
	for i := range c.Files {
		c.Files[i] = strings.TrimPrefix(c.Files[i], f.dir+"/")
	}
	want = []string{
		"etc/stepup/stepup.hcl", "etc/stepup/more/a.hcl", "etc/stepup/more/b.hcl", "etc/stepup/stepup.d/10-x.hcl",
		"own/stepup.hcl", "own/sub/one.hcl", "own/two.hcl", "own/stepup.d/y.hcl", "own/stepup.d/z.hcl",
	}
	if d := cmp.Diff(want, c.Files); d != "" {
		t.Error(d)
	}
	if c.File != f.own() {
		t.Errorf("the file is %s", c.File)
	}
}

// A user needs no file where there is a shared one, but a file that was named must be there.
func TestWithoutOwnFile(t *testing.T) {
	t.Parallel()
	f := newFixture(t, shared)
	if text := f.says(t); !strings.Contains(text, "error: there is no configuration at DIR/own/stepup.hcl") {
		t.Errorf("a named file: %s", text)
	}
	for _, path := range []string{paths.UserPath(f.opt.Env), f.opt.Shared} {
		c, diags := Load(path, f.opt)
		if c == nil || c.File != f.opt.Shared || len(c.Files) != 1 {
			t.Errorf("%q: %+v, %v", path, c, diags.Err())
		}
	}
	f.opt.Shared = filepath.Join(f.dir, "nothing.hcl")
	if c, diags := Load(paths.UserPath(f.opt.Env), f.opt); c != nil || !strings.Contains(diags.Err().Error(), "there is no configuration") {
		t.Errorf("without any: %v", diags.Err())
	}
}

// The blocks that are there once have the arguments of both files, and so have the methods.
func TestJoinedBlocks(t *testing.T) {
	t.Parallel()
	f := newFixture(t, shared+`
cache {
  max_ttl = "10m"
  lock_on = ["sleep"]
  store   = "keyring"
  locked  = true
}
prompt {
  timeout = "40s"
  notify  = "first"
  locked  = true
}
variables { team = "shared" }
step_up "r" {
  paths = ["kv/${team}/${user}/${home}"]
  methods = ["m"]
  grant "header" {}
}
-- own/stepup.hcl --
cache {
  max_ttl = "5m"
  lock_on = ["screen_lock", "sleep"]
}
prompt {
  timeout = "40s"
  notify  = "each"
}
mfa_method "m" { digits = 8 }
variables {
  user = "alice.smith"
  team = "own"
}
listener "unix" { address = "/run/user/1000/stepup/own.sock" }
`)
	c, diags := Load(f.own(), f.opt)
	if c == nil {
		t.Fatal(report(t, diags))
	}
	if c.Prompt.Notify != "each" {
		t.Errorf("notify is %q", c.Prompt.Notify)
	}
	if c.Cache.MaxTTL.Minutes() != 5 || !slices.Equal(c.Cache.LockOn, []string{"screen_lock", "sleep"}) || c.Cache.Store != "keyring" {
		t.Errorf("%+v", c.Cache)
	}
	if c.Prompt.Timeout.Seconds() != 40 || c.Methods[0].Digits != 8 || c.Methods[0].Type != "totp" || len(c.Methods) != 1 || len(c.Listeners) != 2 {
		t.Errorf("%+v %+v %+v", c.Prompt, c.Methods, c.Listeners)
	}
	if got := c.Rules[0].Paths[0].String(); got != "kv/own/alice.smith//home/alice" {
		t.Error(got)
	}
}

// What the user's own file may not say, and what is wrong with the files as such: golden files
// with all that a person reads.
func TestLayers(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/layers/*.txtar")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			last := &archive.Files[len(archive.Files)-1]
			f := newFixture(t, string(txtar.Format(&txtar.Archive{Files: archive.Files[:len(archive.Files)-1]})))
			got := f.says(t)
			if *update {
				last.Data = []byte(got)
				write(t, file, txtar.Format(archive))
			}
			if last.Name != "says" || got != string(last.Data) {
				t.Errorf("got:\n%s\nwant:\n%s", got, last.Data)
			}
		})
	}
}

// The shared file binds its users, so it is no user's.
func TestSharedBelongsToAdministrator(t *testing.T) {
	t.Parallel()
	f := newFixture(t, shared+`include "sub/more.hcl"
-- etc/stepup/sub/more.hcl --
-- own/stepup.hcl --
`)
	for name, part := range map[string]string{
		"the file": "etc/stepup/stepup.hcl", "its folder": "etc/stepup", "an included file": "etc/stepup/sub/more.hcl", "the folder of one": "etc/stepup/sub",
	} {
		path := filepath.Join(f.dir, part)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, info.Mode()|0o002); err != nil {
			t.Fatal(err)
		}
		if text := f.says(t); !strings.Contains(text, "must be an administrator's alone: DIR/"+part) || !strings.Contains(text, "hint: chmod") {
			t.Errorf("%s: %s", name, text)
		}
		if err := os.Chmod(path, info.Mode()); err != nil {
			t.Fatal(err)
		}
		if os.Geteuid() == 0 {
			if err := os.Lchown(path, 4321, -1); err != nil {
				t.Fatal(err)
			}
			if text := f.says(t); !strings.Contains(text, "must be an administrator's alone: DIR/"+part+" belongs to ") {
				t.Errorf("%s of another user: %s", name, text)
			}
			if err := os.Lchown(path, 0, -1); err != nil {
				t.Fatal(err)
			}
		}
	}
	if text := f.says(t); text != "" {
		t.Errorf("in the end: %s", text)
	}
}

// A folder that cannot be listed may hold what is locked: nothing is in force without it.
func TestFolderThatCannotBeListed(t *testing.T) {
	t.Parallel()
	for name, include := range map[string]string{"etc/stepup/stepup.d": "", "etc/stepup/rules": `include "rules/*/*.hcl"`} {
		f := newFixture(t, shared+include+"\n")
		if err := os.Symlink(filepath.Base(name), filepath.Join(f.dir, name)); err != nil { // a loop; root reads all others
			t.Fatal(err)
		}
		if got := f.says(t); strings.Count(got, "cannot list the folder DIR/"+name) != 1 {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A user that can write to the folder can take away what is locked there: also when nothing is left.
func TestEmptyFolderBelongsToAdministrator(t *testing.T) {
	t.Parallel()
	f := newFixture(t, shared)
	folder := filepath.Join(f.dir, "etc/stepup/stepup.d")
	if err := errors.Join(os.Mkdir(folder, 0o755), os.Chmod(folder, 0o777)); err != nil {
		t.Fatal(err)
	}
	if got := f.says(t); !strings.Contains(got, "must be an administrator's alone: DIR/etc/stepup/stepup.d can be written to by every user") {
		t.Error(got)
	}
}

// Everything is watched that may change the configuration, also what is not there.
func TestWatchedFiles(t *testing.T) {
	t.Parallel()
	f := newFixture(t, shared+`include "rules/*/x.hcl"
-- etc/stepup/rules/a/x.hcl --
-- own/stepup.hcl --
include "missing.hcl"
`)
	before := FilesOf(f.own(), f.opt)
	var got []string
	for _, path := range before.Watch {
		got = append(got, strings.TrimPrefix(path, f.dir+"/"))
	}
	want := []string{
		"etc/stepup/stepup.hcl", "etc/stepup/stepup.d", "etc/stepup/rules", "etc/stepup/rules/a", "etc/stepup/rules/a/x.hcl",
		"own/stepup.hcl", "own/stepup.d", "own/missing.hcl",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, name := range []string{"own/missing.hcl", "own/stepup.d/a.hcl", "etc/stepup/rules/b/x.hcl", "etc/stepup/rules/a/x.hcl"} {
		f.write(t, name, "# new\n")
		now := FilesOf(f.own(), f.opt)
		if now.Digest == before.Digest {
			t.Errorf("%s is not noticed", name)
		}
		before = now
	}
}

// Whatever the user's own file says, what the shared one locks is in force: or nothing is.
func FuzzLocked(f *testing.F) {
	files, err := filepath.Glob("testdata/layers/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, one := range archive.Files {
			if strings.HasPrefix(one.Name, "own/") {
				f.Add(one.Data)
			}
		}
	}
	f.Add([]byte(ruleOf("prod/db", "") + "cache {\n max_ttl = \"1m\"\n lock_on = [\"sleep\", \"screen_lock\"]\n}\nprompt { attempts = 2 }\n"))
	f.Add([]byte("include \"x\" {\n}\ninclude \"a/*${user}\"\nvariables { prod = \"other\" }\ninclude \"\""))
	f.Fuzz(func(t *testing.T, own []byte) {
		w := newFixture(t, shared+`
step_up "prod" {
  paths   = ["kv/data/${prod}/*"]
  methods = ["m"]
  grant "header" {}
  locked = true
}
step_up "free" {
  paths   = ["kv/data/free"]
  methods = ["m"]
  grant "header" {}
}
cache {
  max_ttl = "10m"
  lock_on = ["sleep"]
  locked  = true
}
variables {
  prod   = "prod"
  locked = true
}
prompt {
  attempts     = 3
  confirm_push = true
  locked       = true
}
`)
		if err := os.MkdirAll(filepath.Dir(w.own()), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, w.own(), own)
		c, diags := Load(w.own(), w.opt)
		if (c == nil) != diags.HasErrors() {
			t.Fatalf("config %v with %v", c, diags.Err())
		}
		if c == nil {
			report(t, diags)
			return
		}
		checkPromises(t, c)
		q, err := rule.Typed("kv/data/prod/db", "read", "")
		if err != nil {
			t.Fatal(err)
		}
		if m, ok := c.Rules.Match(q); !ok || m.Rule.Name != "prod" {
			t.Errorf("the locked rule is not used: %+v", m)
		}
		if c.Cache.MaxTTL > 10*time.Minute || !slices.Contains(c.Cache.LockOn, "sleep") || c.Prompt.Attempts > 3 || !c.Prompt.ConfirmPush {
			t.Errorf("%+v, %+v", c.Cache, c.Prompt)
		}
		if _, diags := Show(w.own(), w.opt); diags.HasErrors() {
			t.Error(diags.Err())
		}
	})
}

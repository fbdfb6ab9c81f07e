//go:build unix

package ownership

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// stranger is a user that is neither root nor this one.
const stranger = 4321

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A tree is what a test makes in a folder of its own: paths that end with a slash are
// folders, those with an arrow links.
func tree(t *testing.T, entries ...string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	must(t, os.Chmod(dir, 0o755))
	for _, e := range entries {
		if link, target, ok := strings.Cut(e, " -> "); ok {
			must(t, os.Symlink(strings.ReplaceAll(target, "$DIR", dir), filepath.Join(dir, link)))
			continue
		}
		name := filepath.Join(dir, e)
		if strings.HasSuffix(e, "/") {
			must(t, os.Mkdir(name, 0o755))
			continue
		}
		must(t, os.WriteFile(name, nil, 0o644))
	}
	return dir
}

func mode(m os.FileMode) func(string) error {
	return func(name string) error { return os.Chmod(name, m) }
}

func owner(uid int) func(string) error {
	return func(name string) error { return os.Lchown(name, uid, -1) }
}

func group(gid int) func(string) error {
	return func(name string) error { return errors.Join(os.Lchown(name, -1, gid), os.Chmod(name, 0o775)) }
}

// A change of an entry; root says that no other user can make it.
type change struct {
	name string
	do   func(string) error
	root bool
}

func TestCheck(t *testing.T) {
	t.Parallel()
	usual := []string{"a/", "a/b/", "a/b/file", "else/", "else/file", "link -> a/b", "a/away -> $DIR/else", "a/up -> ../else/file", "loop -> loop"}
	tests := []struct {
		name    string
		path    string
		changes []change
		part    string // that is unsafe; "" if nothing is
		fix     string // with $DIR
	}{
		{name: "ours", path: "a/b/file"},
		{name: "a folder of ours", path: "a/b"},
		{name: "missing", path: "a/b/nothing/there"},
		{name: "below a file", path: "a/b/file/more"},
		{name: "dots", path: "a/./b//../b/file"},
		{name: "every user may write to the file", path: "a/b/file", changes: []change{{"a/b/file", mode(0o646), false}}, part: "a/b/file", fix: "chmod o-w $DIR/a/b/file"},
		{name: "every user may write to its folder", path: "a/b/file", changes: []change{{"a/b", mode(0o777), false}}, part: "a/b", fix: "chmod go-w $DIR/a/b"},
		{name: "every user may write above", path: "a/b/file", changes: []change{{"a", mode(0o757), false}}, part: "a", fix: "chmod o-w $DIR/a"},
		{name: "every user may make it", path: "a/b/nothing", changes: []change{{"a/b", mode(0o777), false}}, part: "a/b", fix: "chmod go-w $DIR/a/b"},
		{name: "a shared folder on the way", path: "a/b/file", changes: []change{{"a", mode(0o777 | os.ModeSticky), false}}},
		{name: "a shared folder itself", path: "a", changes: []change{{"a", mode(0o777 | os.ModeSticky), false}}, part: "a", fix: "chmod go-w $DIR/a"},
		{name: "missing in a shared folder", path: "a/nothing", changes: []change{{"a", mode(0o777 | os.ModeSticky), false}}},
		{name: "another's in a shared folder", path: "a/b/file", changes: []change{{"a", mode(0o777 | os.ModeSticky), false}, {"a/b", owner(stranger), true}}, part: "a/b", fix: "chown root $DIR/a/b"},
		{name: "another's file", path: "a/b/file", changes: []change{{"a/b/file", owner(stranger), true}}, part: "a/b/file", fix: "chown root $DIR/a/b/file"},
		{name: "another's folder", path: "a/b/file", changes: []change{{"a", owner(stranger), true}}, part: "a", fix: "chown root $DIR/a"},
		{name: "a group may write", path: "a/b/file", changes: []change{{"a", group(stranger), true}}, part: "a", fix: "chmod g-w $DIR/a"},
		{name: "through a link", path: "link/file"},
		{name: "another's folder behind a link", path: "link/file", changes: []change{{"a", owner(stranger), true}}, part: "a"},
		{name: "the folder of a link to a safe file", path: "a/up", changes: []change{{"a", mode(0o777), false}}, part: "a"},
		{name: "the folder of a link in the middle", path: "a/away/file", changes: []change{{"a", owner(stranger), true}}, part: "a"},
		{name: "another's link in a shared folder", path: "a/up", changes: []change{{"a", mode(0o777 | os.ModeSticky), false}, {"a/up", owner(stranger), true}}, part: "a/up"},
		{name: "behind an absolute link", path: "a/away/file", changes: []change{{"else", mode(0o777), false}}, part: "else"},
		{name: "up from where a link leads", path: "link/../b/file", changes: []change{{"a", mode(0o777), false}}, part: "a"},
		{name: "a loop", path: "loop/file", part: "-"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, usual...)
			for _, c := range tt.changes {
				if c.root && os.Geteuid() != 0 {
					t.Skip("needs root, to give files to another user")
				}
				must(t, c.do(filepath.Join(dir, c.name)))
			}
			err := Check(dir + "/" + tt.path)
			var unsafe *Unsafe
			switch found := errors.As(err, &unsafe); {
			case tt.part == "" && err != nil, tt.part == "-" && (err == nil || found):
				t.Errorf("error %v", err)
			case tt.part == "" || tt.part == "-":
			case !found || unsafe.Part != filepath.Join(dir, tt.part):
				t.Errorf("error %v, want one about %s", err, tt.part)
			case tt.fix != "" && os.Geteuid() == 0 && unsafe.Fix() != strings.ReplaceAll(tt.fix, "$DIR", dir):
				t.Errorf("fix is %q, want %q", unsafe.Fix(), tt.fix)
			}
		})
	}
}

// The mode of a file that is made private anyway does not matter, its place does.
func TestCheckPlace(t *testing.T) {
	t.Parallel()
	dir := tree(t, "a/", "a/file")
	must(t, os.Chmod(filepath.Join(dir, "a/file"), 0o666))
	if err := CheckPlace(filepath.Join(dir, "a/file")); err != nil {
		t.Error(err)
	}
	must(t, os.Chmod(filepath.Join(dir, "a"), 0o777))
	if err := CheckPlace(filepath.Join(dir, "a/file")); err == nil {
		t.Error("other users may write to its folder")
	}
}

// What the system has installed belongs to root, with all that is above it. The tests of
// agent/peer look at files of an ordinary user.
func TestCheckSystem(t *testing.T) {
	t.Parallel()
	shell, err := filepath.EvalSymlinks("/bin/sh")
	must(t, err)
	must(t, CheckSystem(shell))
	must(t, CheckSystem("/bin/sh"))
	for _, path := range []string{"/media/root/usb/vault", "/run/media/alice/usb/vault"} {
		if _, err := os.Stat(filepath.Dir(filepath.Dir(filepath.Dir(path)))); err != nil {
			continue // a machine without it
		}
		if err := CheckSystem(path); err == nil {
			t.Errorf("%s counts as the system's", path)
		}
	}
	dir := tree(t, "a/", "a/file")
	file := filepath.Join(dir, "a/file")
	if os.Geteuid() == 0 {
		must(t, CheckSystem(file))
		must(t, os.Chown(filepath.Join(dir, "a"), stranger, -1))
	}
	if err := CheckSystem(file); err == nil {
		t.Error("a file in a folder of another user than root counts as the system's")
	}
}

// What binds this user belongs to an administrator: this user's own files do not do.
func TestCheckAdmin(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		admin   int
		changes []change
		part    string
	}{
		"the administrator's":      {admin: os.Geteuid()},
		"root's beside another":    {admin: stranger, changes: []change{{"a", owner(0), true}, {"a/file", owner(0), true}}},
		"of another administrator": {admin: stranger, changes: []change{{"a/file", owner(stranger), true}}},
		"a stranger's":             {admin: os.Geteuid(), changes: []change{{"a/file", owner(stranger), true}}, part: "a/file"},
		"in a stranger's folder":   {admin: os.Geteuid(), changes: []change{{"a", owner(stranger), true}}, part: "a"},
		"open to every user":       {admin: os.Geteuid(), changes: []change{{"a/file", mode(0o646), false}}, part: "a/file"},
		"in an open folder":        {admin: os.Geteuid(), changes: []change{{"a", mode(0o777), false}}, part: "a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, "a/", "a/file")
			for _, c := range tt.changes {
				if c.root && os.Geteuid() != 0 {
					t.Skip("needs root, to give files away")
				}
				must(t, c.do(filepath.Join(dir, c.name)))
			}
			err := CheckAdmin(filepath.Join(dir, "a/file"), tt.admin)
			found, _ := errors.AsType[*Unsafe](err)
			switch {
			case tt.part == "" && err != nil:
				t.Error(err)
			case tt.part != "" && (found == nil || found.Part != filepath.Join(dir, tt.part)):
				t.Errorf("error %v, want one about %s", err, tt.part)
			}
		})
	}
}

// A user who is not the administrator may own nothing of it.
func TestCheckAdminOfAnother(t *testing.T) {
	t.Parallel()
	dir := tree(t, "file")
	if os.Geteuid() == 0 {
		must(t, os.Chown(filepath.Join(dir, "file"), 1, -1))
	}
	if err := CheckAdmin(filepath.Join(dir, "file"), 0); err == nil {
		t.Error("the user's own file passes for root's")
	}
}

func TestRelativePath(t *testing.T) {
	dir := tree(t, "a/", "a/file")
	t.Chdir(dir)
	must(t, Check("a/file"))
	must(t, os.Chmod("a", 0o777))
	if err := Check("a/file"); err == nil {
		t.Error("other users may write to its folder")
	}
}

func TestOwnGroup(t *testing.T) {
	t.Parallel()
	const users = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n"
	for name, tt := range map[string]struct {
		groups, users string
		want          bool
	}{
		"private":                   {"root:x:0:\nalice:x:1000:\n", users, true},
		"lists its user":            {"alice:x:1000:alice\n", users, true},
		"another member":            {"alice:x:1000:bob\n", users, false},
		"one more member":           {"alice:x:1000:alice,bob\n", users, false},
		"another's primary group":   {"alice:x:1000:\n", users + "carol:x:1002:1000::/:/bin/sh\n", false},
		"a group of another name":   {"users:x:1000:\n", users, false},
		"two groups of the number":  {"alice:x:1000:\nstaff:x:1000:bob\n", users, false},
		"of a directory service":    {"root:x:0:\n", users, false},
		"lines that are none":       {"\n:::\nalice\nalice:x:1000:\n", "\nx\n", true},
		"nothing is known":          {"", "", false},
		"no line break at the end":  {"alice:x:1000:bob", users, false},
		"a number that begins like": {"alice:x:10001:\n", users, false},
	} {
		if got := (accounts{tt.groups, tt.users}).private("alice", 1000); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A folder that its private group may write to is all right, as long as no access list
// lets others in behind that mode.
func TestPrivateGroup(t *testing.T) {
	t.Parallel()
	if !ownGroup(os.Getegid()) {
		t.Skip("needs a user with a private group")
	}
	dir := tree(t, "a/", "a/file")
	must(t, os.Chown(filepath.Join(dir, "a"), -1, os.Getegid()))
	must(t, os.Chmod(filepath.Join(dir, "a"), 0o775))
	must(t, Check(filepath.Join(dir, "a/file")))
	if err := grant(filepath.Join(dir, "a"), stranger); err != nil {
		t.Skip("needs access lists: ", err)
	}
	if err := Check(filepath.Join(dir, "a/file")); err == nil {
		t.Error("an access list lets another user write")
	}
}

func TestOwner(t *testing.T) {
	t.Parallel()
	dir := tree(t, "mine", "theirs")
	mine, err := os.Lstat(filepath.Join(dir, "mine"))
	must(t, err)
	if !Ours(mine) || UID(mine) != os.Geteuid() {
		t.Errorf("uid is %d", UID(mine))
	}
	if unix.Lchown(filepath.Join(dir, "theirs"), stranger, -1) != nil {
		t.Skip("needs root, to give files to another user")
	}
	theirs, err := os.Lstat(filepath.Join(dir, "theirs"))
	must(t, err)
	if Ours(theirs) || UID(theirs) != stranger {
		t.Errorf("uid is %d", UID(theirs))
	}
}

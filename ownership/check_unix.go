//go:build unix

package ownership

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Told is true: a file's mode and owner tell which users may do what with it.
const Told = true

// UID is the user that a file belongs to, -1 if it cannot be told.
func UID(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

// Ours reports whether a file belongs to the user that this process runs as. What is
// root's is not ours.
func Ours(info fs.FileInfo) bool { return UID(info) == os.Geteuid() }

func check(path string, s scope) error {
	w := walker{scope: s, owner: os.Geteuid()}
	if s == systemFile {
		w.owner = 0
	}
	return walk(path, w)
}

func checkAdmin(path string, admin int) error {
	return walk(path, walker{scope: wholeFile, owner: admin, admin: true})
}

// walk checks path as w says.
func walk(path string, w walker) error {
	if !filepath.IsAbs(path) {
		wd, err := os.Getwd()
		if err != nil {
			return err
		}
		path = wd + "/" + path
	}
	w.path, w.at, w.todo = path, "/", strings.Split(path, "/")
	here, err := os.Lstat("/")
	if err == nil {
		err = w.walk(here)
	}
	// What is not there is left to the code that opens it.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	return err
}

// maxLinks is what Linux follows.
const maxLinks = 40

var errLinks = fmt.Errorf("more than %d symbolic links", maxLinks)

// A walker goes along a path as the kernel does. Not by [filepath.EvalSymlinks],
// which forgets the folders of the links, nor [filepath.Clean], for which a/.. is
// nothing even if a is a link.
type walker struct {
	scope scope
	owner int    // whose files are trusted besides root's
	admin bool   // the owner is not the user that is asked for
	path  string // as it was asked for
	at    string // a folder without links in its name
	todo  []string
	links int
}

// trusted reports whether a file belongs to the owner or root.
func (w *walker) trusted(info fs.FileInfo) bool { return UID(info) == w.owner || UID(info) == 0 }

// walk goes on from the folder here, which is at w.at.
func (w *walker) walk(here fs.FileInfo) error {
	for {
		name, more := w.next()
		if !more {
			return w.end(w.at, here)
		}
		if name == ".." {
			w.at = filepath.Dir(w.at)
			var err error
			if here, err = os.Lstat(w.at); err != nil {
				return err
			}
			continue
		}
		entry := filepath.Join(w.at, name)
		info, err := os.Lstat(entry)
		if err != nil {
			// Also where the entry is missing: another user could make it.
			if unsafe := w.folder(here, nil); unsafe != nil {
				return unsafe
			}
			return err
		}
		if err := w.folder(here, &found{entry, info}); err != nil {
			return err
		}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			if here, err = w.followLink(entry, here); err != nil {
				return err
			}
		case info.IsDir():
			w.at, here = entry, info
		default:
			if _, more := w.next(); more {
				return syscall.ENOTDIR
			}
			return w.end(entry, info)
		}
	}
}

// next takes the next name of the path.
func (w *walker) next() (name string, more bool) {
	for len(w.todo) > 0 {
		name, w.todo = w.todo[0], w.todo[1:]
		if name != "" && name != "." {
			return name, true
		}
	}
	return "", false
}

// followLink goes to where a link leads, and returns the folder to go on from.
func (w *walker) followLink(link string, here fs.FileInfo) (fs.FileInfo, error) {
	if w.links++; w.links > maxLinks {
		return nil, errLinks
	}
	target, err := os.Readlink(link)
	if err != nil {
		return nil, err
	}
	w.todo = append(strings.Split(target, "/"), w.todo...)
	if !filepath.IsAbs(target) {
		return here, nil
	}
	w.at = "/"
	return os.Lstat("/")
}

// An entry of a folder that was found there.
type found struct {
	name string
	info fs.FileInfo
}

// folder checks a folder on the way. entry is what is looked for in it, nil if that is
// not there.
func (w *walker) folder(here fs.FileInfo, entry *found) error {
	if !w.trusted(here) {
		return w.foreign(w.at, here)
	}
	if w.scope == systemFile && (w.at == "/media" || w.at == "/run/media") {
		return &Unsafe{Part: w.at, problem: "holds the media of every user", fix: "move the file out of it"}
	}
	others := w.writers(here, w.at)
	if others == 0 {
		return nil
	}
	if here.Mode()&fs.ModeSticky == 0 {
		return w.writable(w.at, here, others)
	}
	// Only the owners of an entry and of the folder may replace the entry there.
	if entry != nil && !w.trusted(entry.info) {
		return w.foreign(entry.name, entry.info)
	}
	return nil
}

// end checks what the path leads to. A link has been followed.
func (w *walker) end(name string, info fs.FileInfo) error {
	if !w.trusted(info) {
		return w.foreign(name, info)
	}
	if others := w.writers(info, name); others != 0 && w.scope != placeOnly {
		return w.writable(name, info, others)
	}
	return nil
}

// writers is what the mode grants to users other than the owner: 0o020, 0o002 or both.
func (w *walker) writers(info fs.FileInfo, name string) fs.FileMode {
	others := info.Mode().Perm() & 0o022
	st, ok := info.Sys().(*syscall.Stat_t)
	if others == 0o020 && ok && w.scope != systemFile && w.owner == os.Geteuid() && ownGroup(int(st.Gid)) && !hasAccessList(name) {
		return 0
	}
	return others
}

func (w *walker) foreign(part string, info fs.FileInfo) error {
	uid := UID(info)
	// What holds the file belongs to the user; what lies above, to root.
	owner := "root"
	if !w.admin && (part == w.path || part == filepath.Dir(w.path)) {
		owner = userName(os.Geteuid())
	}
	whose := "another user, "
	if uid == os.Geteuid() {
		whose = ""
	}
	return &Unsafe{
		Part:    part,
		problem: fmt.Sprintf("belongs to %s%s (uid %d)", whose, userName(uid), uid),
		fix:     asRoot(0) + "chown " + owner + " " + quote(part),
	}
}

func (w *walker) writable(part string, info fs.FileInfo, others fs.FileMode) error {
	who, mode := "every user", "go-w"
	switch {
	case others == 0o020:
		mode = "g-w"
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			who = fmt.Sprintf("its group, %s (gid %d)", groupName(int(st.Gid)), st.Gid)
		}
	case others == 0o002:
		mode = "o-w"
	}
	return &Unsafe{
		Part:    part,
		problem: "can be written to by " + who,
		fix:     asRoot(UID(info)) + "chmod " + mode + " " + quote(part),
	}
}

// asRoot is what a command begins with that only the given user may give.
func asRoot(uid int) string {
	if euid := os.Geteuid(); euid == 0 || uid == euid {
		return ""
	}
	return "sudo "
}

func userName(uid int) string {
	if u, err := user.LookupId(fmt.Sprint(uid)); err == nil {
		return u.Username
	}
	return fmt.Sprint(uid)
}

func groupName(gid int) string {
	if g, err := user.LookupGroupId(fmt.Sprint(gid)); err == nil {
		return g.Name
	}
	return fmt.Sprint(gid)
}

// quote makes a path one word of a shell.
func quote(path string) string {
	bare := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_./:@%+=,-", r)
	}
	if strings.IndexFunc(path, func(r rune) bool { return !bare(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// ownGroup reports whether a group is this user's alone: the primary group, of the
// user's name and without other members. Debian, Ubuntu and Fedora make one for each
// user, and with it folders that the group may write to.
func ownGroup(gid int) bool {
	if gid != unix.Getegid() {
		return false
	}
	groups, err := os.ReadFile("/etc/group")
	if err != nil {
		return false
	}
	users, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return false
	}
	return accounts{string(groups), string(users)}.private(userName(os.Geteuid()), gid)
}

// accounts are the texts of /etc/group and /etc/passwd. Groups of a directory service
// are not in them, and nothing lists all their members: they are not ours.
type accounts struct{ groups, users string }

func (a accounts) private(name string, gid int) bool {
	id := fmt.Sprint(gid)
	ours := false
	for line := range strings.Lines(a.groups) {
		f := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(f) < 4 || f[2] != id {
			continue
		}
		if f[0] != name || f[3] != "" && f[3] != name {
			return false
		}
		ours = true
	}
	for line := range strings.Lines(a.users) {
		f := strings.Split(line, ":")
		if len(f) > 3 && f[3] == id && f[0] != name {
			return false
		}
	}
	return ours
}

package pathwatch

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxSteps bounds a chain: links may lead in a circle.
const maxSteps = 256

// A chain is everything on the way of a path: folders, links and what they lead to, up to
// the file, or up to the first step that is missing.
type chain []step

// A step is one folder, link or file.
type step struct {
	path    string
	info    fs.FileInfo // of the link itself; nil where it is missing, or must not be seen
	target  string      // of a link
	last    bool        // nothing comes behind it
	entries []string    // of a folder that is the last step
}

// follow resolves a path one step at a time.
func follow(path string) chain {
	root := filepath.VolumeName(path) + string(filepath.Separator)
	at, rest := root, elements(path)
	all := chain{stepAt(at)}
	for len(rest) > 0 && len(all) < maxSteps {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		s := stepAt(filepath.Join(at, name))
		s.last = s.info == nil || len(rest) == 0 && s.target == ""
		if s.folder() {
			s.entries = entries(s.path)
		}
		all = append(all, s)
		switch {
		case s.info == nil:
			return all
		case s.target == "":
			at = s.path
		case filepath.IsAbs(s.target):
			at, rest = root, append(elements(s.target), rest...)
		default:
			rest = append(elements(s.target), rest...)
		}
	}
	return all
}

// elements are the names in a path. Not cleaned: "link/.." is not the folder of the link.
func elements(path string) []string {
	path = path[len(filepath.VolumeName(path)):]
	names := strings.FieldsFunc(path, func(r rune) bool { return r < 128 && os.IsPathSeparator(uint8(r)) })
	return slices.DeleteFunc(names, func(name string) bool { return name == "." })
}

func stepAt(path string) step {
	s := step{path: path}
	info, err := os.Lstat(path)
	if err != nil {
		return s
	}
	s.info = info
	if info.Mode().Type() == fs.ModeSymlink {
		s.target, _ = os.Readlink(path)
	}
	return s
}

// folder reports whether the path leads to a folder, which is s.
func (s step) folder() bool { return s.last && s.info != nil && s.info.IsDir() }

// entries are the names in a folder. Its time would not do: two entries of one tick of the
// clock leave it as it is.
func entries(folder string) (names []string) {
	all, _ := os.ReadDir(folder) // what cannot be read has none
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

// complete reports whether the path leads to something.
func (c chain) complete() bool {
	end := c[len(c)-1]
	return end.last && end.info != nil || len(c) == 1
}

func (c chain) same(other chain) bool { return slices.EqualFunc(c, other, step.same) }

// same compares what a reader of the file could notice.
func (s step) same(other step) bool {
	if s.path != other.path || s.target != other.target || (s.info == nil) != (other.info == nil) || !slices.Equal(s.entries, other.entries) {
		return false
	}
	if s.info == nil {
		return true
	}
	a, b := s.info, other.info
	if !os.SameFile(a, b) || a.Mode() != b.Mode() {
		return false
	}
	return !a.Mode().IsRegular() || a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

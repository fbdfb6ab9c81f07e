// Package layers finds the files of a configuration and makes one of them: the file that an
// administrator has put there for all users of the machine, the user's own one, the files that
// these include, and those of the folders stepup.d beside them.
//
// The blocks of a file stand in the order of the file, those of an included one in the place of
// its include, and those of stepup.d, in the order of their names, behind those of the file. A
// file that was read already is not read again.
package layers

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/vault-stepup/stepup/ownership"
)

// Limits of what is read: beyond them it is a slip of the pen.
const (
	maxFile    = 256 << 10
	maxFiles   = 200
	maxChain   = 16 // files that include one another
	folderName = "stepup.d"
)

// Options say where the files are.
type Options struct {
	Shared string // the file for all users of the machine; "" for none
	Admin  int    // the user that it belongs to if not to root; see [ownership.CheckAdmin]
	Own    string // the user's own file
	// Expand is the text of an expression. It reports what is wrong with it itself.
	Expand func(hclsyntax.Expression) (text string, ok bool)
}

// A Source is the text of a file.
type Source struct {
	Path   string
	Text   []byte
	Shared bool // binds the user
}

// A Tree is what the files say together.
type Tree struct {
	Sources   []Source // in the order in which they were read
	Body      *hclsyntax.Body
	Variables hclsyntax.Blocks // of all files; not in Body
	Problems  []Problem

	// Locked are the arguments that the user's own files may not weaken.
	Locked map[*hclsyntax.Attribute]bool
	// Overridden has the shared argument of each one that stands in its place.
	Overridden map[*hclsyntax.Attribute]*hclsyntax.Attribute
	// LockedRules are the rules of the shared files that are locked. The user's own rules come
	// behind the last of them, and all shared ones before it.
	LockedRules hclsyntax.Blocks
	// Watch are the files and folders whose changes may change the tree, whether they are
	// there or not.
	Watch []string
}

// A Problem is what is wrong with the files as such.
type Problem struct {
	At      hcl.Range // without a Filename it has no place
	Summary string
	Detail  string // may be ""
	Hint    string // may be ""
	Warning bool
}

// Read reads the files. Of one that is missing there is only a problem if another includes it:
// Sources tells which are there.
func Read(opt Options) *Tree {
	r := reader{opt: opt, tree: newTree()}
	var shared hclsyntax.Blocks
	if opt.Shared != "" {
		r.shared = true
		shared = r.main(opt.Shared)
	}
	r.shared = false
	r.tree.merge(shared, r.main(opt.Own))
	return r.tree
}

// Parse is [Read] for a text that is in no file, and cannot include one.
func Parse(name string, text []byte) *Tree {
	r := reader{tree: newTree()}
	r.tree.merge(nil, r.parse(name, text))
	return r.tree
}

func newTree() *Tree {
	return &Tree{
		Body:       &hclsyntax.Body{Attributes: hclsyntax.Attributes{}},
		Locked:     map[*hclsyntax.Attribute]bool{},
		Overridden: map[*hclsyntax.Attribute]*hclsyntax.Attribute{},
	}
}

// Digest tells one content of the files from another.
func (t *Tree) Digest() string {
	h := sha256.New()
	for _, s := range t.Sources {
		fmt.Fprintf(h, "%q %d\n%s\n", s.Path, len(s.Text), s.Text)
	}
	for _, p := range t.Problems { // of files that cannot be read
		fmt.Fprintf(h, "%q\n", p.Summary)
	}
	return string(h.Sum(nil))
}

// A reader reads the files of one tree.
type reader struct {
	opt    Options
	tree   *Tree
	shared bool          // whether those of the administrator are read now
	seen   []fs.FileInfo // of the files that were read
	chain  []string      // that include one another; the last is read now
}

func (r *reader) report(p Problem) {
	if !slices.Contains(r.tree.Problems, p) { // a folder is listed for each part of a pattern
		r.tree.Problems = append(r.tree.Problems, p)
	}
}

// main reads a file if it is there, and those of the folder beside it.
func (r *reader) main(path string) (blocks hclsyntax.Blocks) {
	folder := filepath.Join(filepath.Dir(path), folderName)
	r.tree.Watch = append(r.tree.Watch, path, folder)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		blocks = r.file(path, hcl.Range{})
	}
	for _, file := range r.glob(folder, "*.hcl", hcl.Range{}) {
		r.tree.Watch = append(r.tree.Watch, file)
		blocks = append(blocks, r.file(file, hcl.Range{})...)
	}
	return blocks
}

// file reads the file that is included at a place; without a Filename, it is by none.
func (r *reader) file(path string, at hcl.Range) hclsyntax.Blocks {
	switch {
	case slices.Contains(r.chain, path):
		r.report(Problem{At: at, Summary: fmt.Sprintf("include goes in a circle: %s is being read already", path), Hint: "take it out"})
		return nil
	case len(r.chain) == maxChain:
		r.report(Problem{At: at, Summary: fmt.Sprintf("more than %d files include one another", maxChain)})
		return nil
	}
	text, info, problem := r.load(path)
	switch {
	case problem.Summary != "":
		if problem.At.Filename == "" {
			problem.At = at
		}
		r.report(problem)
		return nil
	case slices.ContainsFunc(r.seen, func(other fs.FileInfo) bool { return os.SameFile(info, other) }):
		return nil
	case len(r.seen) == maxFiles:
		r.report(Problem{At: at, Summary: fmt.Sprintf("the configuration has more than %d files", maxFiles)})
		return nil
	}
	r.seen = append(r.seen, info)
	r.chain = append(r.chain, path)
	defer func() { r.chain = r.chain[:len(r.chain)-1] }()
	return r.parse(path, text)
}

// load reads a file that only its owner can have changed.
func (r *reader) load(path string) (text []byte, info fs.FileInfo, problem Problem) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() { // before anybody is told to change the mode of /dev/null
		err = errIrregular
	} else if problem := r.unsafe(path); problem.Summary != "" {
		return nil, nil, problem
	}
	if err == nil {
		text, err = ReadFile(path, maxFile+1)
	}
	if err == nil {
		info, err = os.Stat(path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		problem.Summary = fmt.Sprintf("there is no file %s", path)
	case err != nil:
		problem.Summary = fmt.Sprintf("cannot read the configuration %s: %s", path, Cause(err))
	}
	return text, info, problem
}

// unsafe says which other user can change what is at a path; the zero value means none.
func (r *reader) unsafe(path string) Problem {
	summary, detail := "another user could change the configuration: %v", "the configuration decides which server gets your tokens, and which programs run as you"
	check := ownership.Check
	if r.shared {
		// Else a user could write what binds the others, or this one take away what binds it.
		summary, detail = "the shared configuration must be an administrator's alone: %v", "it is in force for every user of this machine"
		check = func(path string) error { return ownership.CheckAdmin(path, r.opt.Admin) }
	}
	if found, bad := errors.AsType[*ownership.Unsafe](check(path)); bad {
		return Problem{Summary: fmt.Sprintf(summary, found), Detail: detail, Hint: found.Fix()}
	}
	return Problem{}
}

// glob lists the files of a folder whose names, below it, are as pattern says. There may be none.
func (r *reader) glob(folder, pattern string, at hcl.Range) (files []string) {
	if _, err := os.Stat(folder); err == nil && r.shared {
		if problem := r.unsafe(folder); problem.Summary != "" {
			problem.At = at
			r.report(problem)
			return nil
		}
	}
	tree := &listed{FS: os.DirFS(folder)}
	names, err := fs.Glob(tree, pattern)
	switch {
	case err != nil:
		r.report(Problem{At: at, Summary: "include has a pattern that cannot be read", Hint: `write it as in "rules/*.hcl"`})
	case tree.err != nil:
		r.report(Problem{At: at, Summary: fmt.Sprintf("cannot list the folder %s: %s", folder, Cause(tree.err))})
	}
	for _, name := range names {
		// Editors put what is not finished into hidden files.
		if filepath.Base(name)[0] != '.' {
			files = append(files, filepath.Join(folder, filepath.FromSlash(name)))
		}
	}
	slices.Sort(files)
	return files
}

// A listed file system keeps the error of a folder that is there and cannot be listed. Glob
// takes no notice of it, and what is locked in such a folder would not be.
type listed struct {
	fs.FS
	err error
}

// ReadDir implements fs.ReadDirFS.
func (l *listed) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(l.FS, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		l.err = err
	}
	return entries, err
}

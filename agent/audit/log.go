package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/ownership"
)

// Options of a log. The zero value is the usual one.
type Options struct {
	MaxSize int64 // bytes after which the file is rotated; zero means 10 MiB
	Keep    int   // rotated files that are kept, as path.1 (youngest) to path.N; zero means 3
	// Now tells the wall clock; nil means time.Now.
	Now func() time.Time
}

// A Log appends records to a file. It is safe for concurrent use, also by
// several processes. All methods of a nil *Log do nothing and return nil.
type Log struct {
	path string
	o    Options

	mu     sync.Mutex
	file   *os.File // nil when it could not be opened again
	torn   bool     // the file does not end with a newline
	closed bool
	failed Failure
}

// A Failure says that a log cannot be written. Its zero value says that it can.
type Failure struct {
	Err   error // of the last try
	Place string
	Since time.Time
	Lost  int // records since then, which are not written

	opening bool // there is no file to write to
}

// Open opens the log at path with the usual options, see [Options.Open].
func Open(path string) (*Log, error) { return Options{}.Open(path) }

// Open opens the log at path for appending, creating it with mode 0600 and its
// folder with mode 0700. An existing file that others can read gets mode 0600;
// one that belongs to another user, that another user could replace, or that is not a
// regular file is an error.
func (o Options) Open(path string) (*Log, error) {
	if o.MaxSize <= 0 {
		o.MaxSize = 10 << 20
	}
	if o.Keep <= 0 {
		o.Keep = 3
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l := &Log{path: path, o: o}
	if err := l.openLocked(); err != nil { // l is not shared yet
		return nil, fmt.Errorf("audit: %w", err)
	}
	return l, nil
}

// Write appends r. It blocks for one write to the file, which it does not sync; a
// file that was moved away is noticed, and begun anew.
// An unknown event, or a file that cannot be written, is an error.
func (l *Log) Write(r Record) (err error) {
	if l == nil {
		return nil
	}
	if r.Time.IsZero() {
		r.Time = l.o.Now()
	}
	raw, err := r.encode()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.triedLocked(err, 1) }()
	if err := l.readyLocked(int64(len(raw))); err != nil {
		l.failed.opening = true
		return fmt.Errorf("audit: %w", err)
	}
	l.failed.opening = false
	if l.closed { // the last words of a request that outlived a reload
		defer func() { _ = l.closeLocked() }()
	}
	if l.torn {
		raw = append([]byte{'\n'}, raw...)
	}
	// One write: the kernel keeps lines of several processes apart.
	n, err := l.file.Write(raw)
	l.torn = err != nil && (n > 0 || l.torn)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

// Failure tells whether the log can be written. It looks for the file, and opens it
// again where it is gone; a full disk shows only when a record is written.
func (l *Log) Failure() Failure {
	if l == nil {
		return Failure{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return l.failed
	}
	if err := l.readyLocked(0); err != nil {
		l.failed.opening = true
		l.triedLocked(fmt.Errorf("audit: %w", err), 0)
	} else if l.failed.opening {
		l.failed = Failure{}
	}
	return l.failed
}

// triedLocked remembers what became of records.
func (l *Log) triedLocked(err error, records int) {
	if err == nil {
		l.failed = Failure{}
		return
	}
	l.failed.Place = l.path
	l.failed.add(err, records, l.o.Now())
}

// add counts records that were not written.
func (f *Failure) add(err error, records int, now time.Time) {
	if f.Err == nil {
		f.Since = now.Round(0)
	}
	f.Err = err
	f.Lost += records
}

// Close closes the file. A later Write is still kept; it opens the file for itself.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return l.closeLocked()
}

func (l *Log) closeLocked() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// openLocked replaces the file by what is at the path.
func (l *Log) openLocked() error {
	_ = l.closeLocked() // what was written was not buffered
	file, err := openPrivate(l.path)
	if errors.Is(err, errReplaced) { // rotated by another process: it does not do so twice
		file, err = openPrivate(l.path)
	}
	if err != nil {
		return err
	}
	l.file, l.torn = file, endsTorn(file)
	return nil
}

// readyLocked makes sure that the file is the one at the path and, if rotation
// can give it, has room for more bytes.
func (l *Log) readyLocked(more int64) error {
	for range 3 { // again for what another process did between two steps
		size, current := l.currentLocked()
		if current && (size == 0 || size+more <= l.o.MaxSize) {
			return nil
		}
		if current && l.rotateLocked() != nil {
			break // better a large file than a lost record
		}
		if err := l.openLocked(); err != nil {
			return err
		}
	}
	if l.file == nil {
		return l.openLocked()
	}
	return nil
}

// currentLocked reports whether the open file is the one at the path, and its size.
func (l *Log) currentLocked() (size int64, current bool) {
	if l.file == nil {
		return 0, false
	}
	open, err := l.file.Stat()
	if err != nil {
		return 0, false
	}
	there, err := os.Lstat(l.path)
	if err != nil || !os.SameFile(open, there) {
		return 0, false
	}
	return open.Size(), true
}

// rotateLocked moves the file to path.1 and its predecessors one further, unless
// another process just did. The file has to be opened again afterwards.
func (l *Log) rotateLocked() error {
	unlock, err := lockPath(l.path + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if _, current := l.currentLocked(); !current {
		return nil
	}
	if !renamesOpenFiles {
		_ = l.closeLocked()
	}
	// The file moves first: if that fails, nothing else has moved. A process
	// that was killed in between left a path.0, which is moved on now.
	l.shift()
	if err := os.Rename(l.path, rotated(l.path, 0)); err != nil {
		return err
	}
	l.shift()
	return nil
}

// shift makes path.0 path.1, and so on; the oldest is overwritten.
func (l *Log) shift() {
	if _, err := os.Lstat(rotated(l.path, 0)); err != nil {
		return
	}
	for i := l.o.Keep; i > 0; i-- {
		_ = os.Rename(rotated(l.path, i-1), rotated(l.path, i)) // there may be none
	}
}

func rotated(path string, i int) string { return path + "." + strconv.Itoa(i) }

var errReplaced = errors.New("was replaced while it was opened")

// openPrivate opens path for appending. It must be a regular file of ours that no
// other user can read, in a folder where no other user can replace it.
func openPrivate(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := ownership.CheckPlace(path); err != nil {
		return nil, err
	}
	// Looked at first: to open a pipe would block, and a link that another user put
	// into a shared folder would have us write into any file of ours.
	before, err := os.Lstat(path)
	if err == nil && !before.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := makePrivate(file, path); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

func makePrivate(file *os.File, path string) error {
	open, err := file.Stat()
	if err != nil {
		return err
	}
	there, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !os.SameFile(open, there):
		return fmt.Errorf("%s %w", path, errReplaced)
	case err != nil:
		return err
	case !ownership.Ours(open):
		return fmt.Errorf("%s belongs to another user", path)
	case open.Mode().Perm()&0o077 != 0:
		return file.Chmod(0o600)
	}
	return nil
}

// endsTorn reports whether the last line lacks its newline: its writer was killed, or
// the disk was full.
func endsTorn(file *os.File) bool {
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return false
	}
	last := make([]byte, 1)
	_, err = file.ReadAt(last, info.Size()-1)
	return err == nil && last[0] != '\n'
}

package audit

import (
	"bufio"
	"cmp"
	"compress/bzip2"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// A History is what [Read] found in a log and its rotated files.
type History struct {
	Records []Record // oldest first
	Broken  int      // lines that are no record: cut off by a full disk, or not written by an agent
	Files   []string // that were read, the youngest first
	Skipped []error  // of rotated files that could not be read
}

// maxLine is more than a record can have, see maxField and maxChain.
const maxLine = 1 << 20

// maxDuration is decades, in milliseconds: a broken record must not overflow a sum.
const maxDuration = 1 << 40

// Read reads the log at path and its rotated files: those of the agent (path.1 to path.N) and
// those of logrotate, also with dates in their names, or compressed by gzip, bzip2 or zstd. A
// line that is no record is counted. Read fails where there is no log, or where path cannot
// be read.
func Read(path string) (History, error) {
	var r reader
	defer r.close()
	if err := r.open(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return History{}, err
	}
	// The youngest first: a file that is rotated meanwhile is met again under its next name,
	// and is the same file then.
	for _, name := range rotatedFiles(path) {
		if err := r.open(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.found.Skipped = append(r.found.Skipped, err)
		}
	}
	if len(r.files) == 0 && len(r.found.Skipped) == 0 {
		return History{}, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	for _, file := range slices.Backward(r.files) {
		if err := r.read(file); err != nil {
			r.found.Skipped = append(r.found.Skipped, fmt.Errorf("%s: %w", file.Name(), err))
		}
	}
	// Several agents may write to one log, and a clock may be set back.
	slices.SortStableFunc(r.found.Records, func(a, b Record) int { return a.Time.Compare(b.Time) })
	return r.found, nil
}

// A rotatedFile is a file of a log, with what its name says about its age.
type rotatedFile struct {
	name   string
	number int    // of path.1, path.2.gz; the youngest has the smallest
	date   string // of path-20261129, path-2026112910; the youngest has the largest
}

// rotatedFiles lists the files beside path that are older parts of it, the youngest first.
func rotatedFiles(path string) []string {
	folder, base := filepath.Split(path)
	stem, ext := strings.TrimSuffix(base, filepath.Ext(base)), filepath.Ext(base)
	const packed = `(?:\.(?:gz|bz2|zst|xz|lz4|Z))?`
	name := regexp.MustCompile(`^(?:` + // logrotate puts the number or date before the ending where it has an `extension`
		regexp.QuoteMeta(base) + `(?:\.(?P<n>\d{1,9})|-(?P<d>[\d-]{6,20}))|` +
		regexp.QuoteMeta(stem) + `(?:\.(?P<n2>\d{1,9})|-(?P<d2>[\d-]{6,20}))` + regexp.QuoteMeta(ext) +
		`)` + packed + `$`)
	entries, _ := os.ReadDir(cmp.Or(folder, ".")) // what can be listed
	var all []rotatedFile
	for _, e := range entries {
		m := name.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		number, _ := strconv.Atoi(m[1] + m[3]) // one of them, or none
		all = append(all, rotatedFile{folder + e.Name(), number, m[2] + m[4]})
	}
	slices.SortStableFunc(all, func(a, b rotatedFile) int {
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(b.date, a.date))
	})
	names := make([]string, len(all))
	for i, f := range all {
		names[i] = f.name
	}
	return names
}

// A reader collects the records of several files.
type reader struct {
	files []*os.File // open, the youngest first
	infos []fs.FileInfo
	found History
}

func (r *reader) close() {
	for _, f := range r.files {
		_ = f.Close()
	}
}

// open adds the file at path, unless it is one that is there already.
func (r *reader) open(path string) error {
	// Looked at first: opening a pipe would block.
	if info, err := os.Stat(path); err != nil {
		return err
	} else if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil || slices.ContainsFunc(r.infos, func(had fs.FileInfo) bool { return os.SameFile(had, info) }) {
		return errors.Join(err, file.Close())
	}
	r.files, r.infos, r.found.Files = append(r.files, file), append(r.infos, info), append(r.found.Files, path)
	return nil
}

// read takes the records of a file. What was read before an error is kept.
func (r *reader) read(file *os.File) error {
	plain, done, err := decompressed(file)
	if err != nil {
		return err
	}
	defer done()
	return r.lines(bufio.NewReaderSize(plain, 64<<10))
}

// decompressed returns the content of a file as its name has it. The caller calls done.
func decompressed(file *os.File) (content io.Reader, done func(), err error) {
	done = func() {}
	switch ending := filepath.Ext(file.Name()); ending {
	case ".gz":
		content, err = gzip.NewReader(file)
	case ".bz2":
		content = bzip2.NewReader(file)
	case ".zst":
		var zst *zstd.Decoder
		if zst, err = zstd.NewReader(file, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20)); err == nil {
			content, done = zst, zst.Close
		}
	case ".xz", ".lz4", ".Z":
		err = fmt.Errorf("compressed in a way that is not read here (%s)", ending)
	default:
		content = file
	}
	return content, done, err
}

// lines takes the records of r. A line without its newline may still be in the making.
func (r *reader) lines(in *bufio.Reader) error {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(line) <= maxLine { // the rest of a longer one is left out
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && !errors.Is(err, io.EOF):
			r.take(line)
			return err
		}
		r.take(line)
		line = line[:0]
		if err != nil {
			return nil
		}
	}
}

// take keeps the record of a line, and counts the line if it has none.
func (r *reader) take(line []byte) {
	if len(line) == 0 || string(line) == "\n" {
		return
	}
	record, ok := decode(line)
	if !ok {
		r.found.Broken++
		return
	}
	r.found.Records = append(r.found.Records, record)
}

// decode returns the record of a line. Records of other versions have other fields and
// events, and stay records: each has a time and an event.
func decode(line []byte) (record Record, ok bool) {
	if len(line) > maxLine || json.Unmarshal(line, &record) != nil || record.Time.IsZero() || record.Event == "" {
		return Record{}, false
	}
	record.Time = record.Time.Round(0)
	record.DurationMS = min(max(record.DurationMS, 0), maxDuration)
	return record, true
}

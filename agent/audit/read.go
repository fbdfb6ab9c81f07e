package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"time"
)

// maxLine is more than the longest record. A longer line is not ours.
const maxLine = 1 << 20

// Read returns the records at path and in its rotated files, oldest first, that
// are not before since; the zero time means all. A line that is no record comes
// as an error, and reading goes on; a last line without its newline is being
// written and left out. A log that is not there is empty. Records that are
// written or moved by a rotation meanwhile may be missed or come twice.
func Read(path string, since time.Time) iter.Seq2[Record, error] {
	since = since.Round(0).Truncate(time.Millisecond)
	return func(yield func(Record, error) bool) {
		oldest := 0
		for exists(rotated(path, oldest+1)) {
			oldest++
		}
		for i := oldest; i >= 0; i-- { // 0 is there only in the middle of a rotation
			if !readFile(rotated(path, i), since, yield) {
				return
			}
		}
		readFile(path, since, yield)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// readFile reports whether to go on.
func readFile(path string, since time.Time, yield func(Record, error) bool) bool {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		return yield(Record{}, fmt.Errorf("audit: %w", err))
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil && info.ModTime().Before(since) {
		return true // nothing was written since
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLine)
	lines.Split(wholeLines)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		r, err := decode(lines.Bytes())
		if err != nil {
			err = fmt.Errorf("%s:%d: %w", path, n, err)
		} else if !since.IsZero() && r.Time.Before(since) {
			continue
		}
		if !yield(r, err) {
			return false
		}
	}
	if err := lines.Err(); err != nil {
		return yield(Record{}, fmt.Errorf("%s: audit: %w", path, err))
	}
	return true
}

// wholeLines is a bufio.SplitFunc like ScanLines, but leaves out a torn end.
func wholeLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF {
		return len(data), nil, nil
	}
	return 0, nil, nil
}

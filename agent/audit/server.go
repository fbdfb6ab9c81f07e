package audit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

const (
	// sendTime is how long a record may wait for a server that hangs: a program waits, too.
	sendTime = 500 * time.Millisecond
	// pause is how long a server that hung gets no records.
	pause = 5 * time.Second
	// journalSocket takes the records of journald's own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).
	journalSocket = "/run/systemd/journal/socket"
	// identifier tells the records from the log of the agent (journalctl -t).
	identifier = "stepup-audit"
	// maxMessage is what each receiver of RFC 5424 should take (6.1); a socket of macOS takes no more.
	maxMessage = 2048
)

// The facility authpriv is for what only administrators read (RFC 5424, 6.2.1).
const (
	facility = 10
	warning  = 4
	notice   = 5
)

func severity(e Event) int {
	if e == Refused {
		return warning
	}
	return notice
}

// A server takes records as datagrams on a unix socket. go-systemd's package journal does not
// serve here: it writes without a deadline, so that a journald that was stopped would stop
// every step-up.
type server struct {
	name, path string
	frame      func(Record) ([]byte, error)

	mu     sync.Mutex
	conn   net.Conn  // nil when it could not be opened
	hung   time.Time // when a write had no end last
	failed Failure
}

func newServer(name, path string, frame func(Record) ([]byte, error)) *server {
	return &server{name: name, path: path, frame: frame}
}

// tryOpen connects, so that a server that is not there shows before the first record.
func (s *server) tryOpen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.triedLocked(s.openLocked(), 0)
}

func (s *server) openLocked() error {
	s.closeLocked()
	conn, err := net.DialTimeout("unixgram", s.path, sendTime)
	if err != nil {
		return err
	}
	s.conn = conn
	return nil
}

// write sends r. A server that was started again is connected to again.
func (s *server) write(r Record) error {
	raw, err := s.frame(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if since := time.Since(s.hung); since >= 0 && since < pause {
		return s.triedLocked(errors.New("it hangs"), 1)
	}
	if s.conn != nil {
		if err = s.sendLocked(raw); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			return s.triedLocked(err, 1)
		}
	}
	if err = s.openLocked(); err == nil {
		err = s.sendLocked(raw)
	}
	return s.triedLocked(err, 1)
}

func (s *server) sendLocked(raw []byte) (err error) {
	for range 2 { // on a busy machine, the first may be over before it began
		if err = s.conn.SetWriteDeadline(time.Now().Add(sendTime)); err != nil {
			return err
		}
		if _, err = s.conn.Write(raw); !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	s.hung = time.Now().Round(0)
	return err
}

// triedLocked remembers what became of records, and returns the error for the caller.
func (s *server) triedLocked(err error, records int) error {
	if err == nil {
		s.failed = Failure{}
		return nil
	}
	s.failed.Place = s.name
	s.failed.add(fmt.Errorf("audit: %s at %s: %w", s.name, s.path, err), records, time.Now())
	return s.failed.Err
}

func (s *server) failure() Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked()
}

func (s *server) closeLocked() {
	if s.conn != nil {
		_ = s.conn.Close() // nothing is buffered
		s.conn = nil
	}
}

// journalFrame is r as fields of the journal. Each has its length before it: a line break in
// a value must not become another field.
func journalFrame(r Record) ([]byte, error) {
	line, err := r.encode()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, field := range []struct{ name, value string }{
		{"MESSAGE", string(bytes.TrimSuffix(line, []byte("\n")))},
		{"PRIORITY", strconv.Itoa(severity(r.Event))},
		{"SYSLOG_FACILITY", strconv.Itoa(facility)},
		{"SYSLOG_IDENTIFIER", identifier},
		{"STEPUP_EVENT", string(r.Event)},
		{"STEPUP_RULE", bound(r.Rule, maxField)},
	} {
		b.WriteString(field.name + "\n")
		_ = binary.Write(&b, binary.LittleEndian, uint64(len(field.value))) // a Buffer takes everything
		b.WriteString(field.value + "\n")
	}
	return b.Bytes(), nil
}

// A syslogFormat writes messages of RFC 5424.
type syslogFormat struct {
	host string
	pid  int
}

func syslogFrames() syslogFormat {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	return syslogFormat{host, os.Getpid()}
}

// frame is r as a message. Its text is the line of the file, in ASCII: other text would need
// a mark before it that readers of JSON do not take. What is too long for a receiver is cut
// in its fields: half a line would be no JSON, and a program with a long path must not be
// able to keep itself out of the log.
func (f syslogFormat) frame(r Record) ([]byte, error) {
	for limit := maxField; ; limit /= 2 {
		line, err := r.boundTo(limit).encode()
		if err != nil {
			return nil, err
		}
		text := escape(bytes.TrimSuffix(line, []byte("\n")), func(r rune) bool { return r < ' ' || r > '~' })
		message := fmt.Appendf(nil, "<%d>1 %s %s stepup %d %s - %s", facility*8+severity(r.Event),
			r.Time.UTC().Format(timeFormat), headerField(f.host, 255), f.pid, headerField(string(r.Event), 32), text)
		if len(message) <= maxMessage || limit < 16 {
			return message, nil
		}
	}
}

// headerField is s for the header: printable ASCII without blanks, at most max bytes (6).
func headerField(s string, max int) string {
	s = strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII || r <= ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(len(s), max)]
}

package audit

import (
	"cmp"
	"errors"
	"time"
)

// A Config says where records go. The tags are the grammar, which package config explains.
type Config struct {
	File     string `hcl:"file,optional" form:"path"`   // "" means no file
	Journald bool   `hcl:"journald,optional"`           // the journal of systemd
	Syslog   string `hcl:"syslog,optional" form:"path"` // datagram socket of a syslog server, for messages of RFC 5424; "" means none

	JournalSocket string // "" means that of systemd
}

// A Trail writes each record to every place of a [Config]. It is safe for concurrent use.
// All methods of a nil *Trail do nothing and return nil.
type Trail struct {
	file    *Log // nil where there is none
	servers []*server
}

// Open opens the places of c; nil means that it has none. A file that cannot be opened is an
// error. A server that is not there is a [Failure] of the trail: it may come back.
func (c Config) Open() (*Trail, error) {
	if c == (Config{}) {
		return nil, nil
	}
	t := &Trail{}
	if c.File != "" {
		file, err := Open(c.File)
		if err != nil {
			return nil, err
		}
		t.file = file
	}
	if c.Journald {
		t.servers = append(t.servers, newServer("journald", cmp.Or(c.JournalSocket, journalSocket), journalFrame))
	}
	if c.Syslog != "" {
		t.servers = append(t.servers, newServer("syslog", c.Syslog, syslogFrames().frame))
	}
	for _, s := range t.servers {
		s.tryOpen()
	}
	return t, nil
}

// Write adds r to every place, and returns the errors of those that do not take it. It
// blocks for a write to the file, and for a second now and then for a server that hangs.
func (t *Trail) Write(r Record) error {
	if t == nil {
		return nil
	}
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	err := t.file.Write(r)
	for _, s := range t.servers {
		err = errors.Join(err, s.write(r))
	}
	return err
}

// Failure tells whether a place cannot be written; that of the file comes first.
func (t *Trail) Failure() Failure {
	if t == nil {
		return Failure{}
	}
	if f := t.file.Failure(); f.Err != nil {
		return f
	}
	for _, s := range t.servers {
		if f := s.failure(); f.Err != nil {
			return f
		}
	}
	return Failure{}
}

// Close closes every place. A later Write still reaches them.
func (t *Trail) Close() error {
	if t == nil {
		return nil
	}
	err := t.file.Close()
	for _, s := range t.servers {
		s.close()
	}
	return err
}

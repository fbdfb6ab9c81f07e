package x11

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// cookieName is the only way of proving that one may use a display which is in use.
const cookieName = "MIT-MAGIC-COOKIE-1"

// maxAuthority is as much of the file as is read, in bytes.
const maxAuthority = 1 << 20

// within reads a cookie until ctx ends. The file system of the file may be one that never answers,
// which no context ends: such a read is left behind.
func within(ctx context.Context, read func() []byte) []byte {
	found := make(chan []byte, 1)
	go func() { found <- read() }()
	select {
	case c := <-found:
		return c
	case <-ctx.Done():
		return nil
	}
}

// cookie returns the secret of a display on this machine from an Xauthority file; nil where
// there is none. "" is the file in the home folder.
func cookie(file, number string) []byte {
	home, _ := os.UserHomeDir()
	// Not to wait for a writer: it may be a pipe.
	f, err := os.OpenFile(cmp.Or(file, filepath.Join(home, ".Xauthority")), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxAuthority))
	if err != nil {
		return nil
	}
	host, _ := os.Hostname()
	return findCookie(raw, host, number)
}

// findCookie finds the entry that fits, as libXau does: for this machine or for all, for the
// display or for all.
func findCookie(raw []byte, host, number string) []byte {
	const thisMachine, all = 256, 0xffff
	field := func() (value []byte, ok bool) {
		if len(raw) < 2 {
			return nil, false
		}
		n := int(binary.BigEndian.Uint16(raw))
		if raw = raw[2:]; n > len(raw) {
			return nil, false
		}
		value, raw = raw[:n], raw[n:]
		return value, true
	}
	for len(raw) >= 2 {
		family := binary.BigEndian.Uint16(raw)
		raw = raw[2:]
		var fields [4][]byte
		for i := range fields {
			var ok bool
			if fields[i], ok = field(); !ok {
				return nil
			}
		}
		machine := family == all || family == thisMachine && string(fields[0]) == host
		display := len(fields[1]) == 0 || string(fields[1]) == number
		if machine && display && string(fields[2]) == cookieName && len(fields[3]) < 256 {
			return bytes.Clone(fields[3])
		}
	}
	return nil
}

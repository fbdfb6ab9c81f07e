package x11

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// A script is an X server that says what it was told to, whatever it is asked.
type script struct {
	net.Conn // panics where it is used
	said     io.Reader
	asked    int // bytes
}

func (s *script) Read(b []byte) (int, error)  { return s.said.Read(b) }
func (s *script) Write(b []byte) (int, error) { s.asked += len(b); return len(b), nil }
func (s *script) SetDeadline(time.Time) error { return nil }
func (s *script) Close() error                { return nil }

const testPID = 4711

// reply is one with a number, its fixed part and what follows.
func reply(sequence uint16, fixed []byte, words ...uint32) []byte {
	b := make([]byte, 32)
	b[0] = 1
	binary.LittleEndian.PutUint16(b[2:], sequence)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(words)))
	copy(b[8:], fixed)
	for _, w := range words {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

// words are bytes of a fixed part.
func words(all ...uint32) (b []byte) {
	for _, w := range all {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

// start is what a server says to a watch that begins: one window of another program is there.
func start(pid uint32) []byte {
	body := make([]byte, 32+40)
	binary.LittleEndian.PutUint32(body[4:], 0x400000)
	binary.LittleEndian.PutUint32(body[8:], 0x1fffff)
	body[20] = 1
	binary.LittleEndian.PutUint32(body[32:], 0x100)
	head := []byte{1, 0, 11, 0, 0, 0, byte(len(body) / 4), 0}
	event := make([]byte, 32)
	event[0] = 34
	return bytes.Join([][]byte{
		head, body, event,
		reply(1, []byte{1, 130}),
		reply(2, []byte{1, 0, 2, 0}),
		reply(3, words(2), 0x200000, 2, 4, 1, 0x400000, 2, 4, pid),
	}, nil)
}

// look is what it says to one look: a new program has a window with this class and state, in
// the care of a window manager or not.
func look(class, mapped byte, managed uint32) []byte {
	const theirs, known = 0x600001, 0x200001
	attributes := make([]byte, 24)
	attributes[4], attributes[18] = class, mapped
	return bytes.Join([][]byte{
		reply(4, words(3), 0x200000, 2, 4, 1, 0x400000, 2, 4, testPID, 0x600000, 2, 4, 99),
		reply(5, words(300)),
		reply(6, append(words(0x100, 0), 1, 0), known),
		reply(7, append(words(0x100, 0x100), 1, 0), theirs),
		reply(8, attributes, 0, 0, 0),
		reply(9, words(managed)),
	}, nil)
}

func TestSeenByWhatTheServerSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		said []byte
		seen bool
		err  bool
	}{
		{"in a frame", append(start(testPID), look(1, 2, 0)...), true, false},
		{"hidden with its frame", append(start(testPID), look(1, 1, 0)...), true, false},
		{"put aside", append(start(testPID), look(1, 0, 300)...), true, false},
		{"not shown", append(start(testPID), look(1, 0, 0)...), false, false},
		{"without pixels", append(start(testPID), look(2, 2, 0)...), false, false},
		{"says no more", start(testPID), false, true},
		{"answers another question", append(start(testPID), reply(9, nil)...), false, true},
		{"a reply without end", append(start(testPID), 1, 0, 4, 0, 0xff, 0xff, 0xff, 0xff), false, true},
	} {
		w := &Watch{server: server{conn: &script{said: bytes.NewReader(c.said)}}}
		if err := w.begin(nil, testPID); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if seen, err := w.Seen(t.Context()); seen != c.seen || (err != nil) != c.err {
			t.Errorf("%s: Seen = %t, %v", c.name, seen, err)
		}
	}
	w := &Watch{server: server{conn: &script{said: bytes.NewReader(start(1))}}}
	if err := w.begin(nil, testPID); err == nil {
		t.Error("the server has other numbers for processes, as one outside of a container")
	}
}

// TestServerHangs: a look ends with its context.
func TestServerHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		w := &Watch{server: server{conn: ours}}
		defer w.Close()
		go func() { _, _ = theirs.Write(start(testPID)) }()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		if err := w.begin(nil, testPID); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if seen, err := w.Seen(ctx); seen || err == nil || ctx.Err() == nil {
			t.Errorf("Seen = %t, %v", seen, err)
		}
	})
}

// A flood says of many windows that each has as much in it as one reply can say.
type flood struct {
	script
	tail    []byte // of the reply that is being read
	windows uint16
	said    int // bytes
}

func (f *flood) Read(b []byte) (int, error) {
	if len(f.tail) == 0 {
		f.tail = reply(f.windows+6, nil, make([]uint32, maxReply/4)...)
		f.windows++
	}
	n := copy(b, f.tail)
	f.tail = f.tail[n:]
	f.said += n
	return n, nil
}

// TestServerSaysTooMuch: as many replies as there are windows, each of the longest, would fill
// the memory.
func TestServerSaysTooMuch(t *testing.T) {
	t.Parallel()
	windows := make([]uint32, 1000)
	tree := append(words(0x100, 0), byte(len(windows)), byte(len(windows)>>8))
	before := bytes.Join([][]byte{start(testPID), reply(4, words(0)), reply(5, words(300)), reply(6, tree, windows...)}, nil)
	f := &flood{tail: before, windows: 1}
	w := &Watch{server: server{conn: f}}
	if err := w.begin(nil, testPID); err != nil {
		t.Fatal(err)
	}
	if seen, err := w.Seen(t.Context()); seen || err == nil || f.said > 2*maxLook {
		t.Errorf("Seen = %t, %v after %d MiB", seen, err, f.said>>20)
	}
}

// TestCookieHangs: the file may be on a file system that never answers.
func TestCookieHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		defer close(end)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if c := within(ctx, func() []byte { <-end; return []byte("late") }); c != nil || ctx.Err() == nil {
			t.Errorf("cookie %q", c)
		}
	})
}

func TestFindCookie(t *testing.T) {
	t.Parallel()
	const local, all = "\x01\x00", "\xff\xff"
	entry := func(family, host, number, name, data string) string {
		b := bytes.NewBufferString(family)
		for _, field := range []string{host, number, name, data} {
			b.Write([]byte{0, byte(len(field))})
			b.WriteString(field)
		}
		return b.String()
	}
	for _, c := range []struct{ name, file, want string }{
		{"of this machine", entry(local, "box", "0", cookieName, "right"), "right"},
		{"of another", entry(local, "other", "0", cookieName, "wrong") + entry(local, "box", "0", cookieName, "right"), "right"},
		{"of another display", entry(local, "box", "1", cookieName, "wrong"), ""},
		{"for all displays", entry(local, "box", "", cookieName, "right"), "right"},
		{"for all machines", entry(all, "", "0", cookieName, "right"), "right"},
		{"another proof", entry(all, "", "0", "XDM-AUTHORIZATION-1", "wrong"), ""},
		{"cut off", entry(local, "box", "0", cookieName, "right")[:20], ""},
		{"empty", "", ""},
	} {
		if got := findCookie([]byte(c.file), "box", "0"); string(got) != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// FuzzServer: whatever listens at a display and lies in an Xauthority file, a watch ends, keeps
// little and asks little.
func FuzzServer(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x03box\x00\x010\x00\x12MIT-MAGIC-COOKIE-1\x00\x02ab"), append(start(testPID), look(1, 2, 0)...))
	f.Add([]byte{}, append(start(testPID), look(1, 0, 300)...))
	f.Fuzz(func(t *testing.T, authority, said []byte) {
		s := &script{said: bytes.NewReader(said)}
		w := &Watch{server: server{conn: s}}
		if w.begin(findCookie(authority, "box", "0"), testPID) == nil {
			_, _ = w.Seen(t.Context())
		}
		if limit := 2000 + 20*len(said) + maxBatch*40; s.asked > limit {
			t.Errorf("asked %d bytes for the %d that were said", s.asked, len(said))
		}
	})
}

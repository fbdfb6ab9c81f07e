package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// formatTCP writes a row as the kernel does.
func formatTCP(sk socketInfo) string {
	end := func(a netip.AddrPort) string {
		raw := a.Addr().AsSlice()
		for i := 0; i < len(raw); i += 4 {
			binary.BigEndian.PutUint32(raw[i:], binary.NativeEndian.Uint32(raw[i:]))
		}
		return fmt.Sprintf("%X:%04X", raw, a.Port())
	}
	return fmt.Sprintf("%4d: %s %s %02X %08X:%08X %02X:%08X %08X %5d %8d %d 1 0000000000000000 20 4 30 10 -1",
		3, end(sk.local), end(sk.remote), sk.state, 0, 0, 0, 0, 0, sk.uid, 0, sk.inode)
}

func TestParseTCP(t *testing.T) {
	t.Parallel()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("needs a little-endian machine, on which the rows were taken")
	}
	for _, tt := range []struct {
		name, row string
		want      socketInfo
	}{
		{
			"IPv4",
			"   1: 0100007F:1FA4 0100007F:E8B2 01 00000000:00000000 00:00000000 00000000  1000        0 23456 1 0000000000000000 20 4 30 10 -1",
			socketInfo{netip.MustParseAddrPort("127.0.0.1:8100"), netip.MustParseAddrPort("127.0.0.1:59570"), 1, 1000, 23456},
		},
		{
			"IPv4 in IPv6",
			"   1: 0000000000000000FFFF00000100007F:1FA4 0000000000000000FFFF00000100007F:E8B2 01 00000000:00000000 00:00000000 00000000  1000        0 23456 1 0000000000000000 20 4 30 10 -1",
			socketInfo{netip.MustParseAddrPort("127.0.0.1:8100"), netip.MustParseAddrPort("127.0.0.1:59570"), 1, 1000, 23456},
		},
		{
			"IPv6 orphan",
			"   1: 00000000000000000000000001000000:1FA4 00000000000000000000000001000000:E8B2 04 00000000:00000000 00:00000000 00000000     0        0 0 1 0000000000000000",
			socketInfo{netip.MustParseAddrPort("[::1]:8100"), netip.MustParseAddrPort("[::1]:59570"), 4, 0, 0},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseTCP(tt.row)
			if err != nil || got != tt.want {
				t.Errorf("parseTCP = %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
	heading := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
	if got, err := parseTCP(heading); !errors.Is(err, errTCPRow) {
		t.Errorf("parseTCP of the heading = %+v, %v, want %v", got, err, errTCPRow)
	}
}

// Law: what reads as a row reads the same after it was written as the kernel
// writes it, and is found in a table by its ends.
func FuzzParseTCP(f *testing.F) {
	f.Add("   1: 0100007F:1FA4 0100007F:E8B2 01 00000000:00000000 00:00000000 00000000  1000        0 23456 1 0")
	f.Add("   1: 0000000000000000FFFF00000100007F:1FA4 00000000000000000000000001000000:E8B2 0A 0:0 0:0 0 0 0 0")
	f.Add("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode")
	f.Fuzz(func(t *testing.T, row string) {
		sk, err := parseTCP(row)
		if err != nil {
			if sk != (socketInfo{}) {
				t.Fatalf("an error came with %+v", sk)
			}
			return
		}
		text := formatTCP(sk)
		again, err := parseTCP(text)
		if err != nil || again != sk {
			t.Fatalf("%q reads as %+v, %v; want %+v", text, again, err, sk)
		}
		found, err := findTCP(strings.NewReader("  sl heading\n"+text+"\n"), sk.local, sk.remote)
		if err != nil || found != sk {
			t.Fatalf("findTCP = %+v, %v; want %+v", found, err, sk)
		}
	})
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	const rest = " S 41 42 43 34816 44 4194304 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2"
	want := stat{parent: 41, session: 43, tty: 34816, start: 98765}
	for _, tt := range []struct{ label, name string }{
		{"plain", "terraform"},
		{"empty", ""},
		{"spaces", "Web Content"},
		{"looks like the rest", "a) R 1 (b"},
		{"parentheses", ")(()"},
		{"line feed", "a\n) S 1 1 1"},
	} {
		t.Run(tt.label, func(t *testing.T) {
			t.Parallel()
			want := want
			want.name = tt.name
			got, err := parseStat([]byte("40 (" + tt.name + ")" + rest + "\n"))
			if err != nil || got != want {
				t.Errorf("parseStat = %+v, %v, want %+v", got, err, want)
			}
		})
	}
	for _, bad := range []string{"", "40", "40 (a", ") (", "40 (a) S 1 2", "40 (a)" + strings.Replace(rest, "98765", "-1", 1)} {
		if got, err := parseStat([]byte(bad)); !errors.Is(err, errStat) {
			t.Errorf("parseStat(%q) = %+v, %v, want %v", bad, got, err, errStat)
		}
	}
}

// Law: whatever a process calls itself, the numbers after its name are the
// kernel's.
func FuzzParseStat(f *testing.F) {
	f.Add("a) R 1 (b", 1, 2, 3, uint64(4))
	f.Add("", 0, 0, -1, uint64(1)<<63)
	f.Fuzz(func(t *testing.T, name string, parent, session, tty int, start uint64) {
		line := fmt.Sprintf("7 (%s) S %d 0 %d %d 0 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0", name, parent, session, tty, start)
		got, err := parseStat([]byte(line))
		if want := (stat{name, parent, session, tty, start}); err != nil || got != want {
			t.Fatalf("parseStat(%q) = %+v, %v; want %+v", line, got, err, want)
		}
	})
}

package peer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
)

// A row is one socket of a table that another system's kernel writes.
type row struct {
	ends
	state, uid, pid uint32
}

func port(local, remote string) ends {
	return ends{local: netip.MustParseAddrPort(local), remote: netip.MustParseAddrPort(remote)}
}

// pcbTable writes rows as macOS does, with the records we do not read.
func pcbTable(rows []row) []byte {
	record := func(kind uint32, size int, fill func([]byte)) []byte {
		b := make([]byte, (size+7)&^7)
		binary.LittleEndian.PutUint32(b, uint32(size))
		binary.LittleEndian.PutUint32(b[4:], kind)
		fill(b)
		return b
	}
	nothing := func([]byte) {}
	table := record(uint32(len(rows)), pcbHeader, nothing)
	for _, r := range rows {
		table = append(table, record(pcbKindInet, 104, func(b []byte) {
			flags, at := byte(2), 0
			if r.local.Addr().Is4() {
				flags, at = 1, 12
			}
			b[pcbInetFlags] = flags
			binary.BigEndian.PutUint16(b[pcbInetForeignPort:], r.remote.Port())
			binary.BigEndian.PutUint16(b[pcbInetLocalPort:], r.local.Port())
			copy(b[pcbInetForeign+at:], r.remote.Addr().AsSlice())
			copy(b[pcbInetLocal+at:], r.local.Addr().AsSlice())
		})...)
		table = append(table, record(pcbKindSocket, 76, func(b []byte) {
			binary.LittleEndian.PutUint32(b[pcbSocketUID:], r.uid)
			binary.LittleEndian.PutUint32(b[pcbSocketPID:], r.pid)
		})...)
		for _, kind := range []uint32{2, 4, 8, 0x20} {
			table = append(table, record(kind, 36, nothing)...)
		}
	}
	return append(table, record(uint32(len(rows)), pcbHeader, nothing)...)
}

// winTable writes rows as Windows does.
func winTable(rows []row) []byte {
	le, be := binary.LittleEndian, binary.BigEndian
	table := le.AppendUint32(nil, uint32(len(rows)))
	word := func(port uint16) []byte { return append(be.AppendUint16(nil, port), 0, 0) }
	for _, r := range rows {
		if r.local.Addr().Is4() {
			table = le.AppendUint32(table, r.state)
			table = slices.Concat(table, r.local.Addr().AsSlice(), word(r.local.Port()),
				r.remote.Addr().AsSlice(), word(r.remote.Port()))
		} else {
			scope := make([]byte, 4)
			table = slices.Concat(table, r.local.Addr().AsSlice(), scope, word(r.local.Port()),
				r.remote.Addr().AsSlice(), scope, word(r.remote.Port()))
			table = le.AppendUint32(table, r.state)
		}
		table = le.AppendUint32(table, r.pid)
	}
	return table
}

func TestTablesOfOtherSystems(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]ends{
		"IPv4": port("127.0.0.1:50000", "127.0.0.1:8100"),
		"IPv6": port("[::1]:50000", "[::1]:8100"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := row{e, winEstablished, 501, 4242}
			// A row that differs in one part only belongs to another connection.
			ip := e.local.Addr()
			var decoys []row
			for _, other := range []ends{
				{local: e.remote, remote: e.local},
				{local: e.local, remote: netip.AddrPortFrom(ip, 8101)},
				{local: netip.AddrPortFrom(ip, 50001), remote: e.remote},
				{local: netip.AddrPortFrom(ip.Next(), 50000), remote: e.remote},
				{local: e.local, remote: netip.AddrPortFrom(ip.Next(), 8100)},
			} {
				decoys = append(decoys, row{other, winEstablished, 502, 666})
			}

			all := slices.Concat(decoys, []row{want}, decoys)
			if uid, pid, err := findPCB(pcbTable(all), e); uid != 501 || pid != 4242 || err != nil {
				t.Errorf("findPCB = %d, %d, %v", uid, pid, err)
			}
			if pid, err := findTCPRow(winTable(all), e); pid != 4242 || err != nil {
				t.Errorf("findTCPRow = %d, %v", pid, err)
			}
			if uid, pid, err := findPCB(pcbTable(decoys), e); !errors.Is(err, errAbsent) {
				t.Errorf("findPCB among others = %d, %d, %v, want %v", uid, pid, err, errAbsent)
			}
			want.state = 8 // CLOSE_WAIT
			if pid, err := findTCPRow(winTable(append(decoys, want)), e); !errors.Is(err, errAbsent) {
				t.Errorf("findTCPRow of a closed socket = %d, %v, want %v", pid, err, errAbsent)
			}
		})
	}
}

// Law: no table makes a reader panic, and a socket is found only if the table
// holds its ends.
func FuzzTables(f *testing.F) {
	v4, v6 := port("127.0.0.1:50000", "127.0.0.1:8100"), port("[2001:db8::1]:50000", "[2001:db8::2]:8100")
	want := row{v4, winEstablished, 501, 4242}
	f.Add(pcbTable([]row{want}))
	f.Add(winTable([]row{want}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, table []byte) {
		_, _, pcb := findPCB(table, v6)
		_, win6 := findTCPRow(table, v6)
		_, win4 := findTCPRow(table, v4)
		for _, found := range []struct {
			err error
			ends
		}{{pcb, v6}, {win6, v6}, {win4, v4}} {
			for _, end := range []netip.AddrPort{found.local, found.remote} {
				if found.err == nil && !bytes.Contains(table, end.Addr().AsSlice()) {
					t.Fatalf("found a socket in a table without %s", end)
				}
			}
		}
	})
}

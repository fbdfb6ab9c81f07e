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
	local, remote netip.AddrPort
	state         uint32
	uid, pid      uint32
}

func port(local, remote string) row {
	return row{local: netip.MustParseAddrPort(local), remote: netip.MustParseAddrPort(remote)}
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
	for _, tt := range []struct {
		name string
		want row
	}{
		{"IPv4", port("127.0.0.1:50000", "127.0.0.1:8100")},
		{"IPv6", port("[::1]:50000", "[::1]:8100")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			want := tt.want
			want.state, want.uid, want.pid = winEstablished, 501, 4242
			// What differs in one part only is somebody else's.
			ip := want.local.Addr()
			decoys := []row{
				{local: want.remote, remote: want.local},
				{local: want.local, remote: netip.AddrPortFrom(ip, 8101)},
				{local: netip.AddrPortFrom(ip, 50001), remote: want.remote},
				{local: netip.AddrPortFrom(ip.Next(), 50000), remote: want.remote},
				{local: want.local, remote: netip.AddrPortFrom(ip.Next(), 8100)},
			}
			for i := range decoys {
				decoys[i].state, decoys[i].uid, decoys[i].pid = winEstablished, 502, 666
			}
			find := findTCP6Row
			if ip.Is4() {
				find = findTCPRow
			}

			all := slices.Concat(decoys, []row{want}, decoys)
			if uid, pid, err := findPCB(pcbTable(all), want.local, want.remote); uid != 501 || pid != 4242 || err != nil {
				t.Errorf("findPCB = %d, %d, %v", uid, pid, err)
			}
			if pid, err := find(winTable(all), want.local, want.remote); pid != 4242 || err != nil {
				t.Errorf("findTCPRow = %d, %v", pid, err)
			}
			if uid, pid, err := findPCB(pcbTable(decoys), want.local, want.remote); !errors.Is(err, errAbsent) {
				t.Errorf("findPCB among others = %d, %d, %v, want %v", uid, pid, err, errAbsent)
			}
			want.state = 8 // CLOSE_WAIT
			if pid, err := find(winTable(append(decoys, want)), want.local, want.remote); !errors.Is(err, errAbsent) {
				t.Errorf("findTCPRow of a closed socket = %d, %v, want %v", pid, err, errAbsent)
			}
		})
	}
}

// Law: no table makes a reader panic, and a socket is found only if the table
// holds its ends.
func FuzzTables(f *testing.F) {
	want := port("127.0.0.1:50000", "127.0.0.1:8100")
	want.state, want.uid, want.pid = winEstablished, 501, 4242
	f.Add(pcbTable([]row{want}))
	f.Add(winTable([]row{want}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, table []byte) {
		v6 := port("[2001:db8::1]:50000", "[2001:db8::2]:8100")
		_, _, pcb := findPCB(table, v6.local, v6.remote)
		_, win6 := findTCP6Row(table, v6.local, v6.remote)
		_, win4 := findTCPRow(table, want.local, want.remote)
		for _, found := range []struct {
			err  error
			ends row
		}{{pcb, v6}, {win6, v6}, {win4, want}} {
			for _, end := range []netip.AddrPort{found.ends.local, found.ends.remote} {
				if found.err == nil && !bytes.Contains(table, end.Addr().AsSlice()) {
					t.Fatalf("found a socket in a table without %s", end)
				}
			}
		}
	})
}

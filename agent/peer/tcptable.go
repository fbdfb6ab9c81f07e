package peer

import (
	"encoding/binary"
	"net/netip"
)

// Rows of Windows' GetExtendedTcpTable (tcpmib.h): a count, then rows of 32-bit
// words. It is pure, so that it is tested on every system.
const (
	winEstablished = 5 // MIB_TCP_STATE_ESTAB
	winRow         = 24
	winRow6        = 56
)

// findTCPRow searches a table of MIB_TCPROW_OWNER_PID: state, local address and
// port, remote address and port, process.
func findTCPRow(table []byte, local, remote netip.AddrPort) (pid uint32, err error) {
	for row := range winRows(table, winRow) {
		le := binary.LittleEndian
		if le.Uint32(row) == winEstablished &&
			winEnd(row[4:8], row[8:10]) == local && winEnd(row[12:16], row[16:18]) == remote {
			return le.Uint32(row[20:]), nil
		}
	}
	return 0, errAbsent
}

// findTCP6Row searches a table of MIB_TCP6ROW_OWNER_PID: local address, scope
// and port, remote address, scope and port, state, process.
func findTCP6Row(table []byte, local, remote netip.AddrPort) (pid uint32, err error) {
	for row := range winRows(table, winRow6) {
		le := binary.LittleEndian
		if le.Uint32(row[48:]) == winEstablished &&
			winEnd(row[0:16], row[20:22]) == local && winEnd(row[24:40], row[44:46]) == remote {
			return le.Uint32(row[52:]), nil
		}
	}
	return 0, errAbsent
}

func winRows(table []byte, size int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		if len(table) < 4 {
			return
		}
		n := binary.LittleEndian.Uint32(table)
		for rows := table[4:]; n > 0 && len(rows) >= size; n-- {
			if !yield(rows[:size]) {
				return
			}
			rows = rows[size:]
		}
	}
}

// winEnd reads an address and a port, both in network order.
func winEnd(addr, port []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(addr)
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
}

package peer

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// The tables of other systems. Their readers are pure, so that they are tested on every
// system.

// The table of macOS' net.inet.tcp.pcblist_n: a header, then for each socket a
// series of records, each with its length and kind in front and filled up to a
// multiple of eight bytes, then a record like the header. Layout after
// bsd/netinet/in_pcb.h (xinpcb_n) and bsd/sys/socketvar.h (xsocket_n) of XNU,
// which are packed to four bytes.
const (
	pcbHeader     = 24   // struct xinpgen
	pcbKindSocket = 0x01 // XSO_SOCKET
	pcbKindInet   = 0x10 // XSO_INPCB

	pcbInetForeignPort = 16
	pcbInetLocalPort   = 18
	pcbInetFlags       = 44 // inp_vflag: 1 IPv4, 2 IPv6
	pcbInetForeign     = 48 // 16 bytes; IPv4 in the last four
	pcbInetLocal       = 64
	pcbInetSize        = 80

	pcbSocketUID  = 64
	pcbSocketPID  = 68 // so_last_pid
	pcbSocketSize = 72
)

var errPCBList = errors.New("unknown form of the kernel's TCP table")

// findPCB returns the socket with exactly these ends: its owner and the process
// that used it last.
func findPCB(table []byte, e ends) (uid, pid uint32, err error) {
	if len(table) < pcbHeader {
		return 0, 0, errPCBList
	}
	here := false // the last Internet record was the one
	for b := table[pcbHeader:]; len(b) >= 8; {
		n := int(binary.LittleEndian.Uint32(b))
		kind := binary.LittleEndian.Uint32(b[4:])
		if n == pcbHeader {
			break // the closing record
		}
		if n < 8 || n > len(b) {
			return 0, 0, errPCBList
		}
		rec := b[:n]
		switch {
		case kind == pcbKindInet && n < pcbInetSize, kind == pcbKindSocket && n < pcbSocketSize:
			return 0, 0, errPCBList
		case kind == pcbKindInet:
			here = e == ends{
				local:  pcbEnd(rec, pcbInetLocal, pcbInetLocalPort),
				remote: pcbEnd(rec, pcbInetForeign, pcbInetForeignPort),
			}
		case kind == pcbKindSocket && here:
			return binary.LittleEndian.Uint32(rec[pcbSocketUID:]), binary.LittleEndian.Uint32(rec[pcbSocketPID:]), nil
		}
		b = b[min(len(b), (n+7)&^7):]
	}
	return 0, 0, errAbsent
}

func pcbEnd(rec []byte, addr, port int) netip.AddrPort {
	raw := rec[addr : addr+16]
	if rec[pcbInetFlags]&1 != 0 {
		raw = raw[12:]
	}
	return networkOrder(raw, rec[port:])
}

// networkOrder reads an address and a port, both in network order.
func networkOrder(addr, port []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(addr)
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
}

// Rows of Windows' GetExtendedTcpTable (tcpmib.h): a count, then rows of 32-bit words.
const winEstablished = 5 // MIB_TCP_STATE_ESTAB

// A winRow is the layout of a row: its size, and the offsets of its words.
type winRow struct {
	size, state, pid int
	address          int // bytes of an address
	local, localPort int
	remote, toPort   int
}

// findTCPRow returns the process of the established socket with exactly these ends,
// from a table of MIB_TCPROW_OWNER_PID or, for IPv6, of MIB_TCP6ROW_OWNER_PID.
func findTCPRow(table []byte, e ends) (pid uint32, err error) {
	l := winRow{size: 56, address: 16, local: 0, localPort: 20, remote: 24, toPort: 44, state: 48, pid: 52}
	if e.local.Addr().Is4() {
		l = winRow{size: 24, state: 0, address: 4, local: 4, localPort: 8, remote: 12, toPort: 16, pid: 20}
	}
	if len(table) < 4 {
		return 0, errAbsent
	}
	le := binary.LittleEndian
	n := le.Uint32(table)
	for rows := table[4:]; n > 0 && len(rows) >= l.size; n-- {
		found := ends{
			local:  networkOrder(rows[l.local:l.local+l.address], rows[l.localPort:]),
			remote: networkOrder(rows[l.remote:l.remote+l.address], rows[l.toPort:]),
		}
		if found == e && le.Uint32(rows[l.state:]) == winEstablished {
			return le.Uint32(rows[l.pid:]), nil
		}
		rows = rows[l.size:]
	}
	return 0, errAbsent
}

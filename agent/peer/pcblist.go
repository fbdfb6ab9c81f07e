package peer

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

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
// that used it last. It is pure, so that it is tested on every system.
func findPCB(table []byte, local, remote netip.AddrPort) (uid, pid uint32, err error) {
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
			here = pcbEnd(rec, pcbInetLocal, pcbInetLocalPort) == local &&
				pcbEnd(rec, pcbInetForeign, pcbInetForeignPort) == remote
		case kind == pcbKindSocket && here:
			return binary.LittleEndian.Uint32(rec[pcbSocketUID:]), binary.LittleEndian.Uint32(rec[pcbSocketPID:]), nil
		}
		b = b[min(len(b), (n+7)&^7):]
	}
	return 0, 0, errAbsent
}

// pcbEnd reads one end of an Internet record.
func pcbEnd(rec []byte, addr, port int) netip.AddrPort {
	raw := rec[addr : addr+16]
	if rec[pcbInetFlags]&1 != 0 {
		raw = raw[12:]
	}
	a, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(rec[port:]))
}

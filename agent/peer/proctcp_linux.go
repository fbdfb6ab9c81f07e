package peer

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// procSocket finds the TCP socket with these ends in /proc/net/tcp or, for IPv6
// sockets that may speak IPv4, in /proc/net/tcp6. It costs some milliseconds
// on a busy machine.
func procSocket(local, remote netip.AddrPort) (socketInfo, error) {
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6 in this kernel, or no /proc
		}
		if err != nil { // such as no file descriptor that is free
			return socketInfo{}, fmt.Errorf("%w: %w", errAbsent, err)
		}
		sk, err := findTCP(f, local, remote)
		_ = f.Close()
		if err == nil {
			return sk, nil
		}
	}
	return socketInfo{}, errAbsent
}

// findTCP reads a table up to the row with exactly these ends.
func findTCP(r io.Reader, local, remote netip.AddrPort) (socketInfo, error) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		sk, err := parseTCP(lines.Text())
		if err == nil && sk.local == local && sk.remote == remote {
			return sk, nil
		}
	}
	return socketInfo{}, errAbsent
}

var errTCPRow = errors.New("not a row of the TCP table")

// parseTCP reads one row of /proc/net/tcp or tcp6, whose form is in the
// kernel's Documentation/networking/proc_net_tcp.rst. The heading is an error.
func parseTCP(row string) (socketInfo, error) {
	// sl local remote st tx:rx tr:when retrnsmt uid timeout inode …
	f := strings.Fields(row)
	if len(f) < 10 {
		return socketInfo{}, errTCPRow
	}
	local, err1 := parseEnd(f[1])
	remote, err2 := parseEnd(f[2])
	state, err3 := strconv.ParseUint(f[3], 16, 8)
	uid, err4 := strconv.ParseUint(f[7], 10, 32)
	inode, err5 := strconv.ParseUint(f[9], 10, 32)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return socketInfo{}, fmt.Errorf("%w: %w", errTCPRow, err)
	}
	return socketInfo{
		local: local, remote: remote,
		state: uint8(state), uid: uint32(uid), inode: uint32(inode),
	}, nil
}

// parseEnd reads ADDRESS:PORT in hexadecimal. The kernel prints an address as
// words of 32 bits in the order of the machine.
func parseEnd(s string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, errTCPRow
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(p)), nil
}

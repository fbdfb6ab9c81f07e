//go:build !linux

package e2e

import "net"

// holdPort finds a free port. Nothing keeps others off it until the program
// listens: no other system lets two sockets share a port as Linux does.
func holdPort() (addr string, release func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	return l.Addr().String(), func() {}, l.Close()
}

// Package pipe is the control socket of Windows: a named pipe that only one user can
// open. Other systems have a unix socket in its place, and nothing of this package.
package pipe

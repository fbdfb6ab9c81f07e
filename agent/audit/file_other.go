//go:build !unix

package audit

import "io/fs"

// renamesOpenFiles is false: Windows renames no file that is open.
const renamesOpenFiles = false

// lockPath does nothing: the rename fails while another process has the file open.
func lockPath(string) (unlock func(), err error) { return func() {}, nil }

// ownedByUs is true: the profile folder of Windows is closed to other users.
func ownedByUs(fs.FileInfo) bool { return true }

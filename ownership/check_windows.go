package ownership

import "io/fs"

// Told is false: access lists, which are not looked at, say what each user may do. The
// profile folder is closed to other users.
const Told = false

// UID is -1: files have no number of an owner.
func UID(fs.FileInfo) int { return -1 }

// Ours is true, see [Told].
func Ours(fs.FileInfo) bool { return true }

func check(string, scope) error { return nil }

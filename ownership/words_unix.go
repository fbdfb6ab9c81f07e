//go:build unix

package ownership

// What is said of a part of a path, behind its name.
const (
	wordsForeign   = "belongs to another user, %s (uid %d)"
	wordsWritable  = "can be written to by "
	wordsEveryUser = "every user"
	wordsGroup     = "its group, %s (gid %d)"
)

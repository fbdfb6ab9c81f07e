// Package ownership tells whether another user of this machine could change a file,
// or what is found at its path.
package ownership

// An Unsafe is a part of a path that another user, other than root, could change.
type Unsafe struct {
	Part string // the folder, file or link

	problem string
	fix     string
}

func (e *Unsafe) Error() string { return e.Part + " " + e.problem }

// Fix is the command that puts an end to it.
func (e *Unsafe) Fix() string { return e.fix }

// Check returns nil if only root and this user can change the file or folder that path
// leads to: its owner is one of them, and so is the owner of each folder on the way,
// none of which others may write to. A folder like /tmp, in which only the owner of an
// entry may replace it, is all right on the way. Links are followed one by one: to
// change the folder of a link is to change what it leads to. Parts that do not exist are
// left to the code that opens them. Else the error is an [*Unsafe].
//
// A group may write that belongs to this user alone, as Debian makes them. On Windows
// nothing is looked at: access lists say there what each user may do.
func Check(path string) error { return check(path, wholeFile) }

// CheckAdmin is [Check] for a file that binds this user as well: it and each folder on the
// way belong to root, or to the user admin, and no other user may write to them, not even
// this one. On Windows, they belong to the system or its administrators where admin is 0, and
// nothing is looked at where it is another.
func CheckAdmin(path string, admin int) error { return checkAdmin(path, admin) }

// CheckPlace is [Check] for a file that this process makes private itself: the mode of
// the file does not matter, only that no other user can put another in its place.
func CheckPlace(path string) error { return check(path, placeOnly) }

// CheckSystem is [Check] for a file that only root may be able to change, not even this
// user: what the system's packages have installed. The place of a removable medium is
// none of root's, because udisks mounts an image there for any user, and the image says
// whose its files are.
func CheckSystem(path string) error { return check(path, systemFile) }

// A scope is how much of a path is looked at, and who may change it.
type scope int

const (
	wholeFile scope = iota
	placeOnly
	systemFile
)

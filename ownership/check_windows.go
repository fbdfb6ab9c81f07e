package ownership

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Told is false: access lists, which are not looked at, say what each user may do. The
// profile folder is closed to other users.
const Told = false

// UID is -1: files have no number of an owner.
func UID(fs.FileInfo) int { return -1 }

// Ours is true, see [Told].
func Ours(fs.FileInfo) bool { return true }

func check(string, scope) error { return nil }

// writeRights are those to change a file, or what is in a folder.
const writeRights = windows.FILE_WRITE_DATA | windows.FILE_APPEND_DATA | fileDeleteChild | windows.DELETE |
	windows.WRITE_DAC | windows.WRITE_OWNER | windows.GENERIC_WRITE | windows.GENERIC_ALL

// fileDeleteChild is FILE_DELETE_CHILD of winnt.h: to remove what is in a folder.
const fileDeleteChild = 0x40

// checkAdmin looks at the file and its folder. Every user may make a folder in
// %ProgramData%, and owns it then; the folders above are the system's.
func checkAdmin(path string, admin int) error {
	if admin != 0 {
		return nil // of a user, whose profile is closed to others
	}
	for _, part := range []string{filepath.Dir(path), path} {
		sd, err := windows.GetNamedSecurityInfo(part, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		found := &Unsafe{Part: part, fix: fmt.Sprintf(`as administrator: icacls "%s" /setowner *S-1-5-32-544, and take the write permissions of others away`, part)}
		if err != nil {
			found.problem = fmt.Sprintf("has an owner that cannot be told: %v", err)
			return found
		}
		if owner, _, err := sd.Owner(); err != nil || !isAdmin(owner) {
			found.problem = "does not belong to the administrators"
			return found
		}
		list, _, err := sd.DACL()
		if err != nil || list == nil { // without a list, every user may do everything
			found.problem = "can be written to by every user"
			return found
		}
		for i := range uint32(list.AceCount) {
			var ace *windows.ACCESS_ALLOWED_ACE
			if err := windows.GetAce(list, i, &ace); err != nil {
				found.problem = "has an access list that cannot be read"
				return found
			}
			if mayWrite(ace) {
				found.problem = "can be written to by others than the administrators"
				return found
			}
		}
	}
	return nil
}

// mayWrite reports whether an entry lets others than administrators write. One of a kind that
// is not known does, too.
func mayWrite(ace *windows.ACCESS_ALLOWED_ACE) bool {
	switch {
	case ace.Header.AceType == windows.ACCESS_DENIED_ACE_TYPE, ace.Header.AceFlags&windows.INHERIT_ONLY_ACE != 0:
		return false
	case ace.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE:
		return true
	}
	return ace.Mask&writeRights != 0 && !isAdmin((*windows.SID)(unsafe.Pointer(&ace.SidStart)))
}

// isAdmin reports whether sid is the system, an administrator, or the installer of Windows.
func isAdmin(sid *windows.SID) bool {
	const installer = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"
	return sid.IsWellKnown(windows.WinLocalSystemSid) || sid.IsWellKnown(windows.WinBuiltinAdministratorsSid) || sid.String() == installer
}

package ownership

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// grant lets a user write to a folder by an access list (acl(5), as the kernel keeps it).
func grant(name string, uid uint32) error {
	const none = 0xffffffff
	list := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{0x01, 7, none}, {0x02, 7, uid}, {0x04, 7, none}, {0x10, 7, none}, {0x20, 5, none}} {
		list = binary.LittleEndian.AppendUint16(list, e.tag)
		list = binary.LittleEndian.AppendUint16(list, e.perm)
		list = binary.LittleEndian.AppendUint32(list, e.id)
	}
	return unix.Setxattr(name, "system.posix_acl_access", list, 0)
}

package pathwatch

import "golang.org/x/sys/unix"

// elsewhere says why the system does not tell of every change at the end of a path: another
// machine, or the host of this one (WSL, a virtual machine), can make some.
func elsewhere(c chain) string {
	var fs unix.Statfs_t
	for i := len(c) - 1; i >= 0; i-- {
		if c[i].info == nil {
			continue
		}
		if unix.Statfs(c[i].path, &fs) != nil {
			return ""
		}
		break
	}
	switch uint32(fs.Type) { // signed on some machines
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC,
		unix.CEPH_SUPER_MAGIC, unix.CODA_SUPER_MAGIC:
		return "it is on a network file system, which does not tell what other machines change"
	case unix.V9FS_MAGIC, unix.FUSE_SUPER_MAGIC:
		return "it is on a file system (9p, FUSE) that does not tell what is changed from outside"
	}
	return ""
}

package ownership

import "golang.org/x/sys/unix"

// hasAccessList reports whether more users may have been named than the mode tells:
// with a list, the mode of the group is the most that any of them may do.
func hasAccessList(name string) bool {
	n, err := unix.Lgetxattr(name, "system.posix_acl_access", nil)
	return err == nil && n > 0
}

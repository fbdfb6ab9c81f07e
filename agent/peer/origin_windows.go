package peer

import (
	"path/filepath"
	"strings"

	"golang.org/x/sys/windows"
)

// mounted tells by the place: only administrators write to System32 itself and to the folders
// of programs, as they are after the installation. Below Windows there are folders for every
// user. Access lists are not looked at.
func mounted(p Peer) Origin {
	exe := strings.ToLower(filepath.Clean(p.Exe))
	folder := func(id *windows.KNOWNFOLDERID) string {
		path, err := windows.KnownFolderPath(id, 0)
		if err != nil || path == "" {
			return "?"
		}
		return strings.ToLower(filepath.Clean(path))
	}
	switch {
	case filepath.Dir(exe) == folder(windows.FOLDERID_System),
		strings.HasPrefix(exe, folder(windows.FOLDERID_ProgramFiles)+`\`),
		strings.HasPrefix(exe, folder(windows.FOLDERID_ProgramFilesX86)+`\`):
		return ""
	}
	return OriginUser
}

func sameMounts(int) bool { return true }

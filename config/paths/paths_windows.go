package paths

import "golang.org/x/sys/windows"

// programData is %ProgramData% as the system has it.
func programData() string {
	dir, err := windows.KnownFolderPath(windows.FOLDERID_ProgramData, 0)
	if err != nil {
		return ""
	}
	return dir
}

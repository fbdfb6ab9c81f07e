package peer

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// processes reads entries of the process table as it is now. A parent that has ended
// leaves its number behind; that another process with that number started later is
// what ancestry notices.
func processes() processReader {
	table := make(map[int]windows.ProcessEntry32)
	if snap, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0); err == nil {
		defer windows.CloseHandle(snap)
		e := windows.ProcessEntry32{Size: uint32(unsafe.Sizeof(windows.ProcessEntry32{}))}
		for err = windows.Process32First(snap, &e); err == nil; err = windows.Process32Next(snap, &e) {
			table[int(e.ProcessID)] = e
		}
	}
	return func(pid int) (process, error) {
		e, ok := table[pid]
		if !ok {
			return process{}, fmt.Errorf("process %d has ended", pid)
		}
		return readProcess(e)
	}
}

// readProcess completes an entry of the table.
func readProcess(e windows.ProcessEntry32) (process, error) {
	p := process{pid: int(e.ProcessID), parent: int(e.ParentProcessID), name: windows.UTF16ToString(e.ExeFile[:])}
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, e.ProcessID)
	if err != nil {
		return process{}, fmt.Errorf("process %d: %w", p.pid, err)
	}
	defer windows.CloseHandle(h)
	p.start = started(h)
	path := make([]uint16, windows.MAX_LONG_PATH)
	n := uint32(len(path))
	if windows.QueryFullProcessImageName(h, 0, &path[0], &n) == nil {
		p.exe = windows.UTF16ToString(path[:n])
	}
	return p, nil
}

// fileNumber would be what tells a file from another one of its path; the path has to do.
func fileNumber(os.FileInfo) string { return "" }

// started returns when a process was created, 0 when that is unknown.
func started(h windows.Handle) uint64 {
	var created, exited, kernel, user windows.Filetime
	if windows.GetProcessTimes(h, &created, &exited, &kernel, &user) != nil {
		return 0
	}
	return uint64(created.HighDateTime)<<32 | uint64(created.LowDateTime)
}

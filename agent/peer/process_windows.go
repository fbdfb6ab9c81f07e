package peer

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

// describe reads the process behind id.
func describe(id identity) Peer {
	p := Peer{UID: id.uid}
	parents := processTable()
	read := func(pid int) (process, error) { return readProcess(pid, parents) }
	proc, err := read(id.pid)
	if err != nil || proc.start != id.start {
		return p
	}
	p.PID, p.Exe = proc.pid, proc.exe
	p.Chain = chain(proc, read)
	return p
}

// processTable returns every process's entry by its number.
func processTable() map[int]windows.ProcessEntry32 {
	table := make(map[int]windows.ProcessEntry32)
	snap, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return table
	}
	defer windows.CloseHandle(snap)
	e := windows.ProcessEntry32{Size: uint32(unsafe.Sizeof(windows.ProcessEntry32{}))}
	for err = windows.Process32First(snap, &e); err == nil; err = windows.Process32Next(snap, &e) {
		table[int(e.ProcessID)] = e
	}
	return table
}

func readProcess(pid int, table map[int]windows.ProcessEntry32) (process, error) {
	e, ok := table[pid]
	if !ok {
		return process{}, fmt.Errorf("process %d has ended", pid)
	}
	p := process{pid: pid, parent: int(e.ParentProcessID), name: windows.UTF16ToString(e.ExeFile[:])}
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return process{}, fmt.Errorf("process %d: %w", pid, err)
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

// started returns when a process was created, 0 when that is unknown.
func started(h windows.Handle) uint64 {
	var created, exited, kernel, user windows.Filetime
	if windows.GetProcessTimes(h, &created, &exited, &kernel, &user) != nil {
		return 0
	}
	return uint64(created.HighDateTime)<<32 | uint64(created.LowDateTime)
}

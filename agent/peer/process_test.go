package peer

import (
	"os"
	"slices"
	"testing"
	"testing/synctest"
)

// A table is a process table by its numbers.
type table map[int]process

func (t table) read(pid int) (process, error) {
	p, ok := t[pid]
	if !ok {
		return p, os.ErrNotExist
	}
	return p, nil
}

// A parent that is younger than its child was given the number of one that ended.
func TestAncestry(t *testing.T) {
	t.Parallel()
	processes := table{
		1:  {pid: 1, start: 0, name: "init"},
		10: {pid: 10, parent: 1, start: 10, exe: "/usr/bin/gnome-terminal"},
		11: {pid: 11, parent: 10, start: 11, exe: "/bin/zsh", terminal: true},
		12: {pid: 12, parent: 11, start: 12, name: "make"},
		13: {pid: 13, parent: 12, start: 13, exe: "/opt/terraform"},
		20: {pid: 20, parent: 10, start: 5, exe: "/opt/orphan"},
		30: {pid: 30, parent: 31, start: 30, name: "ring"},
		31: {pid: 31, parent: 30, start: 30, name: "ring"},
		35: {pid: 35, parent: 11, start: 35, exe: "/memfd:sealed/bin/vault", name: "3"},
		40: {pid: 40, parent: 99, start: 40, name: "lost"},
		50: {pid: 50, parent: 51, start: 500, name: "child"},
		51: {pid: 51, parent: 52, start: 400, name: "parent"},
		52: {pid: 52, parent: 53, start: 450, name: "stranger"}, // took the number
		53: {pid: 53, parent: 1, start: 100, name: "first"},
	}
	for _, tt := range []struct {
		name  string
		pid   int
		chain []string
		line  []int
	}{
		{"up to the owner of the terminal", 13, []string{"terraform", "make", "zsh", "gnome-terminal"}, []int{13, 12, 11, 10}},
		{"a program without a file", 35, []string{"a program in memory called sealed/bin/vault", "zsh", "gnome-terminal"}, []int{35, 11, 10}},
		{"a parent younger than its child is a stranger", 20, []string{"orphan"}, []int{20}},
		{"a parent of a parent that is a stranger", 50, []string{"child", "parent"}, []int{50, 51}},
		{"a parent that is gone", 40, []string{"lost"}, []int{40}},
		{"the first process is not shown", 10, []string{"gnome-terminal"}, []int{10}},
		{"a ring is bounded", 30, slices.Repeat([]string{"ring"}, chainLimit), slices.Repeat([]int{30, 31}, treeLimit/2)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := chain(processes[tt.pid], processes.read); !slices.Equal(got, tt.chain) {
				t.Errorf("chain = %q, want %q", got, tt.chain)
			}
			if got := lineage(processes[tt.pid], processes.read); !slices.Equal(got, tt.line) {
				t.Errorf("lineage = %v, want %v", got, tt.line)
			}
		})
	}
}

// TestOriginInTime: an executable can be on a file system that never answers.
func TestOriginInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		defer close(end)
		if got := inTime(func() Origin { <-end; return "" }); got != OriginUnknown {
			t.Errorf("origin %q of what cannot be looked at", got)
		}
		if got := inTime(func() Origin { return OriginUser }); got != OriginUser {
			t.Errorf("origin %q", got)
		}
	})
}

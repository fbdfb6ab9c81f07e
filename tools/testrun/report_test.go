package main

import (
	"slices"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		lines []string
		each  bool
		want  string
		ok    bool
	}{
		{"pass", []string{
			`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}`,
			`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: chatter\n"}`,
			`{"Action":"pass","Package":"p","Test":"TestA"}`,
			`{"Action":"output","Package":"p","Output":"PASS\n"}`,
			`{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}`,
			`{"Action":"pass","Package":"p"}`,
		}, false, "ok  \tp\t0.1s\n" + "\n1 passed, 0 failed, 0 skipped\n", true},
		{"skip with its reason", []string{
			`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}`,
			`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: needs tmux\n"}`,
			`{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}`,
			`{"Action":"skip","Package":"p","Test":"TestA"}`,
			`{"Action":"pass","Package":"p"}`,
		}, false, "\nskipped:\n  p TestA: a_test.go:1: needs tmux\n\n0 passed, 0 failed, 1 skipped\n", true},
		{"a package without tests is no skipped test", []string{
			`{"Action":"output","Package":"p","Output":"?   \tp\t[no test files]\n"}`,
			`{"Action":"skip","Package":"p"}`,
		}, false, "\n0 passed, 0 failed, 0 skipped\n", true},
		{"failure shows its output", []string{
			`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: wrong\n"}`,
			`{"Action":"fail","Package":"p","Test":"TestA"}`,
			`{"Action":"fail","Package":"p"}`,
		}, false, "    a_test.go:1: wrong\n" + "\n0 passed, 1 failed, 0 skipped\n", false},
		{"a panic leaves its test open", []string{
			`{"Action":"output","Package":"p","Test":"TestA","Output":"panic: oh\n"}`,
			`{"Action":"fail","Package":"p"}`,
		}, false, "panic: oh\n" + "\n0 passed, 1 failed, 0 skipped\n", false},
		{"build failure", []string{
			`{"ImportPath":"p","Action":"build-output","Output":"x.go:1: undefined\n"}`,
			`{"ImportPath":"p","Action":"build-fail"}`,
			`{"Action":"fail","Package":"p","FailedBuild":"p"}`,
		}, false, "x.go:1: undefined\n" + "\n0 passed, 0 failed, 0 skipped\n", false},
		{"each", []string{
			`{"Action":"pass","Package":"p","Test":"TestA","Elapsed":1.25}`,
			`{"Action":"pass","Package":"p"}`,
		}, true, "pass\tTestA (1.2 s)\n" + "\n1 passed, 0 failed, 0 skipped\n", true},
		{"not JSON", []string{`go: no such thing`}, false, "go: no such thing\n" + "\n0 passed, 0 failed, 0 skipped\n", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var printed strings.Builder
			rep := newReport(&printed, tt.each)
			for _, line := range tt.lines {
				rep.line([]byte(line + "\n"))
			}
			rep.print()
			if got := printed.String(); got != tt.want {
				t.Errorf("printed %q, want %q", got, tt.want)
			}
			if rep.ok != tt.ok {
				t.Errorf("ok is %v", rep.ok)
			}
		})
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	own, rest := split([]string{"-forbid-skips", "-dir", "..", "-race", "-dir", "x"})
	if want := []string{"-forbid-skips", "-dir", ".."}; !slices.Equal(own, want) {
		t.Errorf("own flags are %q, want %q", own, want)
	}
	if want := []string{"-race", "-dir", "x"}; !slices.Equal(rest, want) {
		t.Errorf("go test's flags are %q, want %q", rest, want)
	}
}

// Command sbom says what a Go program is made of, read from the program itself
// and not from a go.mod that may have moved on: as a CycloneDX document, or as
// the texts of the licences that must travel with it.
//
//	sbom [-licenses] [-o FILE] PROGRAM
package main

import (
	"bytes"
	"debug/buildinfo"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
)

func main() {
	licenses := flag.Bool("licenses", false, "print the licence texts of what the program contains")
	file := flag.String("o", "", "write to this file instead of standard output")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: sbom [-licenses] [-o FILE] PROGRAM\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	var out bytes.Buffer
	err := run(&out, flag.Arg(0), *licenses)
	if err == nil {
		err = write(*file, out.Bytes())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "sbom: %v\n", err)
		os.Exit(1)
	}
}

func write(file string, text []byte) error {
	if file != "" {
		return os.WriteFile(file, text, 0o644)
	}
	_, err := os.Stdout.Write(text)
	return err
}

func run(w io.Writer, program string, licenses bool) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return fmt.Errorf("%s is no Go program: %w", program, err)
	}
	if licenses {
		return writeLicenses(w, info, moduleDir)
	}
	return writeDocument(w, info)
}

// moduleDir is where the go command keeps a module that it has downloaded.
func moduleDir(m *debug.Module) (string, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", m.Path+"@"+m.Version)
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	cmd.Dir = os.TempDir() // any module may be asked about, not only those of a go.mod
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s is not in the module cache: %w", m.Path, m.Version, err)
	}
	return string(out[:max(0, len(out)-1)]), nil
}

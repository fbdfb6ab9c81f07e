package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// writeLicenses prints the licence and notice files of every module in the
// program, and of Go's own library. A module without one is an error: it could
// not be handed on.
func writeLicenses(w io.Writer, info *debug.BuildInfo, dir func(*debug.Module) (string, error)) error {
	root, err := goRoot()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(root, "LICENSE"))
	if err != nil {
		return fmt.Errorf("the licence of Go: %w", err)
	}
	if err := section(w, "Go "+strings.TrimPrefix(info.GoVersion, "go"), text); err != nil {
		return err
	}
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		folder, err := dir(dep)
		if err != nil {
			return err
		}
		text, err := texts(folder)
		if err != nil {
			return fmt.Errorf("%s: %w", dep.Path, err)
		}
		if err := section(w, dep.Path+" "+dep.Version, text); err != nil {
			return err
		}
	}
	return nil
}

func goRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func section(w io.Writer, title string, text []byte) error {
	_, err := fmt.Fprintf(w, "%s\n%s\n\n%s\n\n\n", title, strings.Repeat("=", len(title)), bytes.TrimSpace(text))
	return err
}

// texts are the licence and notice files in a folder, one after the other.
func texts(folder string) ([]byte, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for _, e := range entries {
		if e.IsDir() || !isLicense(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, bytes.TrimSpace(text))
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no licence in %s", folder)
	}
	return bytes.Join(all, []byte("\n\n")), nil
}

func isLicense(name string) bool {
	if filepath.Ext(name) == ".go" {
		return false
	}
	stem := strings.ToUpper(strings.TrimSuffix(strings.TrimSuffix(name, ".md"), ".txt"))
	return slices.ContainsFunc([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"}, func(word string) bool {
		return stem == word || strings.HasPrefix(stem, word+"-") || strings.HasPrefix(stem, word+".")
	})
}

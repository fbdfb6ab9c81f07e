package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

func program() *debug.BuildInfo {
	return &debug.BuildInfo{
		GoVersion: "go1.26.8",
		Main:      debug.Module{Path: "example.org/app", Version: "v1.2.3"},
		Deps: []*debug.Module{
			{Path: "example.org/a", Version: "v0.1.0", Sum: "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
			{Path: "example.org/old", Version: "v1.0.0", Replace: &debug.Module{Path: "example.org/new", Version: "v1.1.0"}},
		},
	}
}

func TestDocument(t *testing.T) {
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := writeDocument(out, program()); err != nil {
			t.Fatal(err)
		}
	}
	if first.String() != second.String() {
		t.Error("the same program gave two documents")
	}
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(&first, cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if got := bom.Metadata.Component.PackageURL; got != "pkg:golang/example.org/app@v1.2.3" {
		t.Errorf("the program is %s", got)
	}
	var urls []string
	for _, c := range *bom.Components {
		urls = append(urls, c.PackageURL)
	}
	want := "pkg:golang/std@1.26.8 pkg:golang/example.org/a@v0.1.0 pkg:golang/example.org/new@v1.1.0"
	if got := strings.Join(urls, " "); got != want {
		t.Errorf("components\n%s\nwant\n%s", got, want)
	}
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if hashes := (*bom.Components)[1].Hashes; hashes == nil || (*hashes)[0].Value != empty {
		t.Errorf("hash of a: %v, want %s", hashes, empty)
	}
}

func TestDocumentRefusesUnknownHash(t *testing.T) {
	info := program()
	info.Deps[0].Sum = "h2:what"
	if err := writeDocument(&bytes.Buffer{}, info); err == nil {
		t.Error("no error")
	}
}

func TestLicenses(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"a/LICENSE": "text of a", "a/main.go": "package a", "a/NOTICE.txt": "notice of a",
		"new/COPYING.md": "text of new", "bare/README": "nothing",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir := func(m *debug.Module) (string, error) { return filepath.Join(root, filepath.Base(m.Path)), nil }
	var out bytes.Buffer
	if err := writeLicenses(&out, program(), dir); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Go 1.26.8\n=========\n", "example.org/a v0.1.0\n", "text of a\n\nnotice of a", "example.org/new v1.1.0\n", "text of new"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
	info := program()
	info.Deps[0].Path = "example.org/bare"
	if err := writeLicenses(&out, info, dir); err == nil || !strings.Contains(err.Error(), "example.org/bare: no licence") {
		t.Errorf("a module without a licence: %v", err)
	}
}

func TestIsLicense(t *testing.T) {
	for name, want := range map[string]bool{
		"LICENSE": true, "LICENSE.md": true, "License.txt": true, "LICENSE-MIT": true, "LICENSE.libyaml": true, "COPYING": true, "NOTICE": true,
		"license.go": false, "README": false, "LICENSES": false,
	} {
		if got := isLicense(name); got != want {
			t.Errorf("isLicense(%q) = %t", name, got)
		}
	}
}

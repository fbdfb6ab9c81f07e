package packaging_test

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/packaging"
)

var update = flag.Bool("update", false, "write the golden files")

// odd has every character that one of the formats treats in its own way.
const odd = `/home/al ice/100%h/$HOME/"q"/it's/back\slash/<&>/é`

// plainer is odd without what systemd takes in no path of a program.
const plainer = `/home/al ice/100%h/$HOME/<&>/é`

func agents() map[string]packaging.Agent {
	return map[string]packaging.Agent{
		"plain": {
			Program: "/home/alice/bin/stepup", RuntimeDir: "/run/user/1000",
			Listen: []packaging.Address{{Network: "tcp", Name: "127.0.0.1:8100"}, {Network: "unix", Name: "/run/user/1000/stepup/vault.sock"}},
		},
		"no_sockets": {Program: "/home/alice/bin/stepup", Config: "/etc/stepup.hcl"},
		"odd": {
			Program: plainer + "/stepup", Config: odd + "/stepup.hcl", Env: []string{"STEPUP_RUNTIME_DIR=" + odd, "STEPUP_STATE_DIR=/s"},
			RuntimeDir: "/run/user/1000", Log: odd + "/log", User: `CORP\al ice`,
			Listen: []packaging.Address{{Network: "tcp", Name: "[::1]:8100"}, {Network: "unix", Name: odd + "/vault.sock"}},
		},
	}
}

func files(t *testing.T, a packaging.Agent) []packaging.File {
	t.Helper()
	all, err := packaging.Systemd(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, make := range []func(packaging.Agent) (packaging.File, error){packaging.Launchd, packaging.Windows} {
		f, err := make(a)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	return all
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-update writes it):\n%s", path, diff)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	for name, a := range agents() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, f := range files(t, a) {
				golden(t, filepath.Join("testdata", name, f.Name), f.Text)
			}
		})
	}
}

// The files that packages of operating systems install are kept, so that they
// can be read and packed without running anything.
func TestPackage(t *testing.T) {
	t.Parallel()
	all, err := packaging.Package("/usr/bin/stepup")
	if err != nil || len(all) != 2 {
		t.Fatalf("%d files, %v", len(all), err)
	}
	for _, f := range all {
		golden(t, filepath.Join("systemd", "user", f.Name), f.Text)
	}
}

// What was written is what a reader of XML gets.
func TestXML(t *testing.T) {
	t.Parallel()
	for _, f := range files(t, agents()["odd"]) {
		if !strings.HasPrefix(f.Text, "<?xml") {
			continue
		}
		var texts []string
		decoder := xml.NewDecoder(strings.NewReader(f.Sealed()))
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
			if text, ok := token.(xml.CharData); ok {
				texts = append(texts, string(text))
			}
		}
		if all := strings.Join(texts, "\n"); !strings.Contains(all, plainer+"/stepup\n") || !strings.Contains(all, odd+"/stepup.hcl") {
			t.Errorf("%s does not have the paths as they are:\n%s", f.Name, all)
		}
	}
}

func TestUnfit(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]packaging.Agent{
		"a line of its own":     {Program: "/bin/stepup\nExecStartPre=/bin/sh"},
		"in the environment":    {Program: "/bin/stepup", Env: []string{"A=b\nExecStart=/x"}},
		"in the configuration":  {Program: "/bin/stepup", Config: "/a\rb"},
		"quotes":                {Program: `/"q"/stepup`},
		"not UTF-8":             {Program: "/bin/\xff"},
		"an open address":       {Program: "/bin/stepup", Listen: []packaging.Address{{Network: "tcp", Name: "0.0.0.0:8100"}}},
		"any port":              {Program: "/bin/stepup", Listen: []packaging.Address{{Network: "tcp", Name: "127.0.0.1:0"}}},
		"a name":                {Program: "/bin/stepup", Listen: []packaging.Address{{Network: "tcp", Name: "localhost:8100"}}},
		"a relative socket":     {Program: "/bin/stepup", Listen: []packaging.Address{{Network: "unix", Name: "vault.sock"}}},
		"a line in a socket":    {Program: "/bin/stepup", Listen: []packaging.Address{{Network: "unix", Name: "/a\nb"}}},
		"a line that goes on":   {Program: "/bin/stepup", Listen: []packaging.Address{{Network: "unix", Name: `/a\`}}},
		"another kind of thing": {Program: "/bin/stepup", Listen: []packaging.Address{{Network: "udp", Name: "127.0.0.1:8100"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if all, err := packaging.Systemd(a); !errors.Is(err, packaging.ErrUnfit) {
				t.Errorf("Systemd = %v, %v", all, err)
			}
		})
	}
}

// Whatever the text is, it comes back, and any change is noticed.
func FuzzSeal(f *testing.F) {
	f.Add("[Unit]\nDescription=x\n", 3)
	f.Add("<?xml version=\"1.0\"?>\n<a/>\n", 40)
	f.Add("", 0)
	f.Fuzz(func(t *testing.T, text string, at int) {
		sealed := packaging.File{Name: packaging.Service, Text: text}.Sealed()
		if strings.Contains(text, "stepup-checksum:") {
			return // none of ours has it
		}
		body, intact := packaging.Unseal(sealed)
		if body != text || !intact {
			t.Fatalf("Unseal(Sealed(%q)) = %q, %v", text, body, intact)
		}
		head, ok := strings.CutSuffix(sealed, body)
		if at < 0 || at > len(body) || !ok {
			return
		}
		edited := head + body[:at] + "x" + body[at:]
		if _, intact := packaging.Unseal(edited); intact {
			t.Fatalf("%q is said to be as it was made", edited)
		}
	})
}

package vaultcli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseServer(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"https://Vault.Example.":           "https://vault.example:443",
		" http://u:secret@[::1]:8100/x/ ":  "http://[::1]:8100/x",
		"http://[::ffff:127.0.0.1]:8100":   "http://127.0.0.1:8100",
		"unix:///run/user/1/../vault.sock": "unix:///run/user/vault.sock",
		"vault.example:8200":               "",
		"unix://vault.sock":                "",
		"ftp://vault.example":              "",
		"https://%zz":                      "",
	} {
		got, err := ParseServer(address)
		if err == nil != (want != "") || err == nil && got.String() != want {
			t.Errorf("ParseServer(%q) = %s, %v; want %q", address, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), address) {
			t.Errorf("the error quotes the address: %v", err)
		}
	}
}

func TestServes(t *testing.T) {
	t.Parallel()
	tcp := Listener{Network: "tcp", Address: "127.0.0.1:8100"}
	socket := Listener{Network: "unix", Address: "/nowhere/vault.sock"}
	for _, c := range []struct {
		listener Listener
		address  string
		want     bool
	}{
		{tcp, "http://127.0.0.1:8100", true},
		{tcp, "http://localhost:8100", true},
		{tcp, "https://127.0.0.1:8100", false},
		{tcp, "http://127.0.0.1:8101", false},
		{tcp, "http://[::1]:8100", false},
		{tcp, "unix:///nowhere/vault.sock", false},
		{socket, "unix:///nowhere/./vault.sock", true},
		{socket, "http://127.0.0.1:8100", false},
	} {
		server, err := ParseServer(c.address)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.listener.Serves(server); got != c.want {
			t.Errorf("%+v serves %s: %v, want %v", c.listener, c.address, got, c.want)
		}
	}
}

// FuzzConfig states that a line which is put into the file is found there, and that
// taking it out again leaves every other line as it was.
func FuzzConfig(f *testing.F) {
	for _, text := range []string{"", "# a comment\n\n", "token_helper = \"/x\"\n", "password", "\"token_helper\" = \"a\\\"b\"\r\n// x\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		before := parseConfig(text)
		with := parseConfig(before.With(`token_helper = "/bin/stepup-token-helper"`))
		if !before.other && (with.Helper != "/bin/stepup-token-helper" || !with.Mine() || with.other) {
			t.Fatalf("%q becomes %+v", text, with)
		}
		if diff := cmp.Diff(before.With(""), with.With("")); !before.other && diff != "" {
			t.Fatal(diff)
		}
	})
}

package keyring

import "testing"

func TestUnsuitable(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env     map[string]string
		release string
		want    string
	}{
		"a desktop":          {map[string]string{"DISPLAY": ":0"}, "6.1.0-amd64", ""},
		"nothing":            {nil, "", ""},
		"WSL 2":              {nil, "5.15.153.1-microsoft-standard-WSL2\n", whyWSL},
		"WSL 1":              {nil, "4.4.0-19041-Microsoft", whyWSL},
		"WSL, own kernel":    {map[string]string{"WSL_DISTRO_NAME": "Debian"}, "6.1.0", whyWSL},
		"ssh":                {map[string]string{"SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"}, "6.1.0", whySSH},
		"ssh with a display": {map[string]string{"SSH_TTY": "/dev/pts/1", "DISPLAY": "localhost:10"}, "6.1.0", whySSH},
		"an ssh agent only":  {map[string]string{"SSH_AUTH_SOCK": "/run/a"}, "6.1.0", ""},
	} {
		if got := unsuitable(func(name string) string { return test.env[name] }, test.release); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

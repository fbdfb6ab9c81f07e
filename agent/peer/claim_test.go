package peer

import "testing"

func TestClaim(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"terraform apply": {"/usr/bin/terraform", "apply", "-auto-approve"},
		"curl":            {"curl", "-H", "X-Vault-Token: hvs.secret"},
		"vault":           {"vault", "hvs.CAESIJMvqq", "x"},
		"login":           {"-login"[1:], "VAULT_TOKEN=x"},
		"python":          {"python", "averyveryverylongwordthatmaybeapassword"},
		"sh":              {"sh", ""},
		"":                {""},
	} {
		if got := claim(args); got != want {
			t.Errorf("claim(%q) = %q, want %q", args, got, want)
		}
	}
	if got := claim(nil); got != "" {
		t.Errorf("claim(nil) = %q", got)
	}
}

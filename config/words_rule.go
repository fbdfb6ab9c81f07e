package config

import (
	"fmt"
)

// The words about step_up blocks. The rules of words.go hold.

func wordsPattern(t text, err error) message {
	return message{summary: fmt.Sprintf("%s cannot be used as a path of a rule", t.shown), detail: err.Error()}
}

func wordsInnerStar(t text) message {
	return say(fmt.Sprintf("a * that is not at the end of %s stands for itself", t.shown), "use + for any one segment, as in a Vault policy")
}

func wordsNoGrant(block string) message {
	return say(block+" has no grant", `add grant "header" {}`)
}

func wordsMethodsAlone(block string) message {
	return message{
		summary: block + " has methods, but no grant", detail: "a control group is approved by other people, without a factor of yours",
		hint: `leave methods out, or add grant "header" {} where the path wants a factor as well`,
	}
}

func wordsTooLong(name string, limit int) message {
	return say(fmt.Sprintf("%s is longer than %d bytes", name, limit), "")
}

func wordsTwoGrants(block string, line int) message {
	return say(block+" has two grants", fmt.Sprintf("the first is on line %d: make a step_up block of its own for the other", line))
}

func wordsLoginPath(t text) message {
	return say(fmt.Sprintf("%s is not the path of a login", t.shown), `write "auth/MOUNT/login/USER"`)
}

func wordsEndpoint(t text) message {
	return say(fmt.Sprintf("%s is not the path of one API call", t.shown), "write it as for vault write: no v1/, no query, no * or +")
}

func wordsPassword(t text) message {
	return message{
		summary: "password says where the password comes from",
		detail:  "the password itself has no place in a file",
		hint:    meant(t.value, []string{"prompt", "keyring"}, "use a command = [...] or one of: "),
	}
}

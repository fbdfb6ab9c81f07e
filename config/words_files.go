package config

import (
	"fmt"

	"github.com/vault-stepup/stepup/ownership"
)

// What is said of files that another user could change.

func wordsUnsafeFile(u *ownership.Unsafe) message {
	return message{
		summary: fmt.Sprintf("another user could change the configuration: %v", u),
		detail:  "the configuration decides which server gets your tokens, and which programs run as you",
		hint:    u.Fix(),
	}
}

func wordsUnsafe(name string, u *ownership.Unsafe) message {
	return say(fmt.Sprintf("another user could change %s: %v", name, u), u.Fix())
}

func wordsUnsafeProgram(name string, u *ownership.Unsafe) message {
	return message{
		summary: fmt.Sprintf("another user could change the program of %s: %v", name, u),
		detail:  "it runs as you, and sees or gives the codes",
		hint:    u.Fix(),
	}
}

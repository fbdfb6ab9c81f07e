package config

import (
	"fmt"
	"time"
)

// The words about second factors; words.go has the rest.

func wordsMethodName() message {
	return message{
		summary: "the name of a method has no colon or blank",
		detail:  "it goes into X-Vault-MFA as name:code, where Vault cuts at the first colon",
		hint:    "use the ID of the method instead",
	}
}

func wordsOnlyDuo(kind string) message {
	return say(fmt.Sprintf("a method of type %s has no choice between passcode and push", kind), "passcode = true is for type = \"duo\"")
}

func wordsSentinelGrant(grant string) message {
	return message{
		summary: fmt.Sprintf("a sentinel block does not go with grant %q", grant),
		detail:  "that grant sends its factors to a path of its own, before a policy can deny",
		hint:    "name the methods in methods, or use grant \"header\"",
	}
}

func wordsShortTimeout(t time.Duration) message {
	return message{
		summary: fmt.Sprintf("timeout is %s, which is shorter than a push takes", t),
		detail:  fmt.Sprintf("there are methods that push, so stepup waits for %s; a request that is given up and repeated pushes again", PushTimeout),
		hint:    "leave timeout out",
	}
}

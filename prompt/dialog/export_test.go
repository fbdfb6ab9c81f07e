package dialog

import (
	"time"

	"github.com/vault-stepup/stepup/prompt"
)

// What the golden tests for other systems need of the inside.
type Invocation struct {
	Args  []string
	Input string
	Read  func(code int, output string) (string, error)
}

func exported(v invocation) Invocation { return Invocation{v.args, v.input, v.read} }

func MacInvocation(r prompt.Request, now time.Time) Invocation {
	return exported(macInvocation(macScript)(newDialogText(r, now)))
}

func WindowsInvocation(r prompt.Request, now time.Time) Invocation {
	return exported(windowsInvocation(newDialogText(r, now)))
}

func MacPictureInvocation(r prompt.Request, now time.Time) Invocation {
	return exported(macInvocation(macPictureScript)(newDialogText(r, now)))
}

func KdialogPictureInvocation(r prompt.Request, now time.Time) Invocation {
	return exported(kdialogPicture(newDialogText(r, now)))
}

// Picture is the PNG of the QR code of an enrolment.
func Picture(r prompt.Request) []byte { return newDialogText(r, time.Now()).picture() }

func DialogText(r prompt.Request, now time.Time, canDeny bool) string {
	return newDialogText(r, now).text(canDeny)
}

func names(programs []program) []string {
	var list []string
	for _, d := range programs {
		list = append(list, d.name)
	}
	return list
}

func MacPrograms(k prompt.Kind) []string   { return names(macPrograms(k)) }
func WindowsPrograms(root string) []string { return names(windowsPrograms(root)) }
func SessionPrograms(r prompt.Request, s prompt.Session) []string {
	return names(sessionPrograms(r, s))
}

func AssuanEscape(s string) string      { return assuanEscape(s) }
func AssuanUnescape(s string) string    { return assuanUnescape(s) }
func AssuanClip(s string, n int) string { return clipEscape(s, n) }

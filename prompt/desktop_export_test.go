package prompt

import "time"

// What the golden tests for other systems need of the inside.
type Invocation struct {
	Args  []string
	Input string
	Read  func(code int, output string) (string, error)
}

func exported(v invocation) Invocation { return Invocation{v.args, v.input, v.read} }

func MacInvocation(r Request, now time.Time) Invocation {
	return exported(macInvocation(newSheet(r, now)))
}

func WindowsInvocation(r Request, now time.Time) Invocation {
	return exported(windowsInvocation(newSheet(r, now)))
}

func MacPictureInvocation(r Request, now time.Time) Invocation {
	return exported(macPictureInvocation(newSheet(r, now)))
}

func KdialogPictureInvocation(r Request, now time.Time) Invocation {
	return exported(kdialogPicture(newSheet(r, now)))
}

// OTPAuth is what the QR code of an enrolment says once it was sanitised.
func OTPAuth(e *Enrolment) string { return e.sanitized().otpauth().Reveal() }

// Picture is its PNG.
func Picture(r Request) []byte { return newSheet(r, time.Now()).picture() }

func DialogText(r Request, now time.Time, canDeny bool) string { return newSheet(r, now).text(canDeny) }

func programs(dialogs []dialog) []string {
	var names []string
	for _, d := range dialogs {
		names = append(names, d.program)
	}
	return names
}

func MacPrograms(k Kind) []string                   { return programs(macDialogs(k)) }
func WindowsPrograms(root string) []string          { return programs(windowsDialogs(root)) }
func SessionPrograms(r Request, s Session) []string { return programs(sessionDialogs(r, s)) }

func AssuanEscape(s string) string              { return assuanEscape(s) }
func AssuanUnescape(s string) string            { return assuanUnescape(s) }
func AssuanClip(s string, n int) string         { return clipEscape(s, n) }
func BusSocket(s string) (string, bool)         { return busSocket(s) }
func BusAddress(s string) string                { return busAddress(s) }
func ParseUserEnvironment(s string) []string    { return parseUserEnvironment(s) }
func ParseDisplay(s string) (string, int, bool) { return parseDisplay(s) }

package dialog

import (
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/prompt"
)

// sessionPrograms lists the programs for a kind of question in a session, best
// first. A passcode goes to those that show it while it is typed; a password to
// pinentry, which keeps it in memory that is not swapped. A code that may come with the
// password has a window of its own later: in one with two fields, as zenity has it, Enter
// sends nothing.
func sessionPrograms(r prompt.Request, s prompt.Session) []program {
	zenity := withPicture(zenityPictureProgram(), oneShot("zenity", zenityInvocation))
	kdialog := withPicture(oneShot("kdialog", overX(s, kdialogPicture)), oneShot("kdialog", overX(s, kdialogInvocation)))
	zenity.draws, kdialog.draws = true, true
	boxes, qt := []program{zenity, kdialog}, prefersQt(s)
	if qt && s.Display != "" {
		slices.Reverse(boxes)
	}
	switch {
	case r.Kind == prompt.Password:
		return append(pinentries(s, qt), boxes...)
	case r.Kind == prompt.Choose, r.Kind == prompt.Push:
		return boxes // pinentry has no list, and nothing large
	}
	return append(boxes, pinentries(s, qt)...)
}

// overX has a Qt program use the X server that nearly every Wayland session has beside it. As
// a client of Wayland, Qt (5.15 in Debian 12) often hangs when it ends: the window is
// gone, and the answer with the exit code does not come. Where there is no X server, others
// go first.
func overX(s prompt.Session, build func(dialogText) invocation) func(dialogText) invocation {
	if s.Display == "" || s.WaylandDisplay == "" {
		return build
	}
	return func(t dialogText) invocation {
		v := build(t)
		v.env = append(v.env, "QT_QPA_PLATFORM=xcb;wayland") // the second where Qt cannot load the first
		return v
	}
}

func prefersQt(s prompt.Session) bool {
	for name := range strings.SplitSeq(strings.ToUpper(s.Desktop), ":") {
		if name == "KDE" || name == "LXQT" {
			return true
		}
	}
	return false
}

// pinentries lists those with a window. pinentry-curses and -tty are never
// wanted: they would draw on any terminal that they find.
func pinentries(s prompt.Session, qt bool) []program {
	names := []string{"pinentry-gnome3", "pinentry-gtk-2", "pinentry-qt", "pinentry-qt6", "pinentry-qt5"}
	if qt {
		names = append(names[2:], names[:2]...)
	}
	var programs []program
	// A plain "pinentry" may be any of them. Each says its flavour when asked.
	for _, name := range append(names, "pinentry") {
		p := pinentryProgram(name, func(flavour string) bool { return fits(flavour, s) })
		p.draws = strings.HasPrefix(name, "pinentry-gtk") || strings.HasPrefix(name, "pinentry-qt")
		programs = append(programs, p)
	}
	return programs
}

// fits reports whether the window of a pinentry would be on the screen of the
// session.
func fits(flavour string, s prompt.Session) bool {
	switch {
	case !hasWindow(flavour):
		return false
	case strings.HasPrefix(flavour, "gnome3"):
		// Its window is the desktop's own, found over the bus, also where the person
		// sits at a forwarded display.
		return s.BusAddress != "" && !s.Forwarded()
	case strings.HasPrefix(flavour, "gtk"):
		return s.Display != "" // GTK 2 has no Wayland
	}
	return true
}

func dialogEnviron(environ []string, s prompt.Session) []string {
	kept := make([]string, 0, len(environ)+8)
	oneScreen := (s.Display == "") != (s.WaylandDisplay == "")
	for _, variable := range s.Environ(prompt.WithoutSecrets(environ)) {
		name, _, _ := strings.Cut(variable, "=")
		if !affectsDialog(name) && !(choosesScreen(name) && oneScreen) {
			kept = append(kept, variable)
		}
	}
	if s.Display == "" && s.WaylandDisplay != "" {
		// Qt looks for an X server, and ends where there is none, unless XDG_SESSION_TYPE says
		// "wayland". It says "tty" where a person has started sway from a console.
		kept = append(kept, "QT_QPA_PLATFORM=wayland")
	}
	if !prompt.HasUTF8(prompt.Getenv(kept)) {
		// Else zenity would print a question mark for each ü of a password.
		kept = append(kept, "LC_ALL=C.UTF-8")
	}
	return kept
}

// affectsDialog reports whether a variable changes the meaning of a dialog program's exit
// code, the window that it belongs to, or its place on the screen.
func affectsDialog(name string) bool {
	switch name {
	case "WINDOWID", "DESKTOP_STARTUP_ID", "XDG_ACTIVATION_TOKEN", "GPG_TTY", "PINENTRY_USER_DATA":
		return true
	}
	return strings.HasPrefix(name, "ZENITY_") || strings.HasPrefix(name, "DIALOG_")
}

// choosesScreen reports whether a variable tells a toolkit which kind of screen to use. The
// agent's own may be meant for another session: at the forwarded display of ssh -X there is
// no Wayland.
func choosesScreen(name string) bool {
	return name == "QT_QPA_PLATFORM" || name == "GDK_BACKEND"
}

package peer

import "testing"

func TestGraphical(t *testing.T) {
	t.Parallel()
	for want, environ := range map[bool][]string{
		true:  {"HOME=/x", "WAYLAND_DISPLAY=wayland-0"},
		false: {"HOME=/x", "DISPLAY=", "XDISPLAY=:0"},
	} {
		if got := graphical(environ); got != want {
			t.Errorf("graphical(%q) = %v", environ, got)
		}
	}
}

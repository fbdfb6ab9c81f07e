package terminal

import "os"

// notifyResize does nothing: a console wraps its lines anew by itself.
func notifyResize(chan os.Signal) (stop func()) { return func() {} }

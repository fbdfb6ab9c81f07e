package main

// protectMemory does nothing: here every process of a user may open, and read, each
// other one of the same user, and the owner of a process can take away any list of
// rights that says otherwise.
func protectMemory() (unprotected func(start func() error) error, err error) {
	return func(start func() error) error { return start() }, nil
}

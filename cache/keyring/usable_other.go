//go:build !linux

package keyring

import "context"

// perform works on the item of a request. Windows has no lock of its own on credentials,
// and macOS tells that a keychain is locked only by failing or by a dialog, which the
// limit of the [Child] ends.
func perform(_ context.Context, q request) (string, error) { return viaLibrary(q) }

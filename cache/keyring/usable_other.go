//go:build !linux

package keyring

import "context"

// usable returns nil: Windows has no lock of its own on credentials, and macOS
// tells that a keychain is locked only by failing or by a dialog, which the
// limit of the [Child] ends.
func usable(context.Context, request) error { return nil }

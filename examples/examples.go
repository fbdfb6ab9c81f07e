// Package examples holds configurations to copy from. Each begins with a comment
// that says when to use it, and each is loaded by a test.
package examples

import "embed"

// Files are the example configurations and the programs that they name.
//
//go:embed *.hcl *.sh
var Files embed.FS

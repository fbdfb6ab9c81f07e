package config

import (
	"bytes"
	_ "embed" // for the starter file

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

//go:embed starter.hcl
var starter []byte

// Starter returns a commented configuration to begin with, for a Vault at
// address. It loads without a diagnostic when the address does.
func Starter(address string) []byte {
	// Quoted as HCL: an address is text from a command line and must not become grammar.
	quoted := hclwrite.TokensForValue(cty.StringVal(address)).Bytes()
	return bytes.Replace(starter, []byte(`"ADDRESS"`), quoted, 1)
}

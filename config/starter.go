package config

import (
	"bytes"
	_ "embed" // for the starter file
	"fmt"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

//go:embed starter.hcl
var starter []byte

// An Argument is one of the vault block of a starter file.
type Argument struct{ Name, Value string }

// A Proposal is an argument of login_mfa that the file has as a comment.
type Proposal struct {
	Name   string
	Values []string
	About  string // why, in one line
}

// Starter returns a commented configuration to begin with, for a Vault at
// address. It loads without a diagnostic when the address and the arguments do.
func Starter(address string, arguments []Argument, proposals []Proposal) []byte {
	text := bytes.Replace(starter, []byte(`"ADDRESS"`), quoted(cty.StringVal(address)), 1)
	var block, login bytes.Buffer
	for _, a := range arguments {
		fmt.Fprintf(&block, "  %s = %s\n", a.Name, quoted(cty.StringVal(a.Value)))
		text = withoutComment(text, a.Name)
	}
	for _, p := range proposals {
		values := make([]cty.Value, len(p.Values))
		for i, v := range p.Values {
			values[i] = cty.StringVal(v)
		}
		fmt.Fprintf(&login, "  # %s = %s # %s\n", p.Name, quoted(cty.TupleVal(values)), p.About)
	}
	text = bytes.Replace(text, []byte("  # ARGUMENTS\n"), block.Bytes(), 1)
	return bytes.Replace(text, []byte("  # PROPOSALS\n"), login.Bytes(), 1)
}

// quoted writes a value as HCL: text from a command line, the environment or a server must
// not become grammar.
func quoted(v cty.Value) []byte { return hclwrite.TokensForValue(v).Bytes() }

// withoutComment takes out the line that shows how an argument is written.
func withoutComment(text []byte, name string) []byte {
	var out []byte
	for line := range bytes.Lines(text) {
		if after, ok := bytes.CutPrefix(line, []byte("  # "+name)); ok && bytes.HasPrefix(bytes.TrimLeft(after, " "), []byte("=")) {
			continue
		}
		out = append(out, line...)
	}
	return out
}

// Package config reads stepup's configuration: HCL 2, decoded into what the agent
// takes, checked as a whole, and answered with diagnostics that show the line.
//
// The grammar is a small part of HCL on purpose: text, numbers, true and false,
// lists, and ${env.NAME}, ${home}, ${runtime_dir} and ${state_dir} inside text.
// There are no functions, conditions or loops, so that what a file means can be
// read off it. Nothing here prints or exits.
package config

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/ownership"
)

// Limits of what is read; those of arguments are in their tags: beyond them a value is a
// slip of the pen, and a late surprise.
const (
	maxFile     = 256 << 10
	maxPemFile  = 4 << 20
	maxUnixPath = 104 // sun_path of macOS; Linux has 108
	maxNesting  = 32
	maxOddities = 1000
	maxResolve  = 2 * time.Second
)

// Options are what the meaning of a file depends on besides its text.
type Options struct {
	Env        func(string) string // an empty answer means unset
	Home       string              // ${home}; "": from Env
	RuntimeDir string              // ${runtime_dir}; "": [RuntimeDir]
	StateDir   string              // ${state_dir}; "": [StateDir]
	// Resolve finds the addresses of an upstream host, to refuse one that is a
	// listener of ours. It is asked only when the ports are equal. nil:
	// net.DefaultResolver. It is given 2 s.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
}

func (o Options) filled() Options {
	o.Home = cmp.Or(o.Home, homeDir(o.Env))
	o.RuntimeDir = cmp.Or(o.RuntimeDir, RuntimeDir(o.Env))
	o.StateDir = cmp.Or(o.StateDir, StateDir(o.Env))
	if o.Resolve == nil {
		o.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	return o
}

// Load reads and checks the file at path, and refuses it if another user could change
// it. With errors among the diagnostics the Config is nil. It reads the certificate files
// that the configuration names, and may block for 2 s per vault on name resolution, but
// changes nothing.
func Load(path string, opt Options) (*agent.Config, Diagnostics) {
	if found, bad := errors.AsType[*ownership.Unsafe](ownership.Check(path)); bad {
		return nil, withoutPlace(say("another user could change the configuration: %v", found).
			because("the configuration decides which server gets your tokens, and which programs run as you").hint("%s", found.Fix()))
	}
	src, err := readFile(path, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, withoutPlace(say("there is no configuration at %s", path).hint("stepup config init --address https://… writes one"))
	case err != nil:
		return nil, withoutPlace(say("cannot read the configuration %s: %s", path, cause(err)))
	}
	return Parse(path, src, opt)
}

// Parse is [Load] for a text instead of a path; name stands for the path in diagnostics.
func Parse(name string, src []byte, opt Options) (*agent.Config, Diagnostics) {
	d := &decoder{
		file: &file{opt: opt.filled(), name: name, src: src}, cfg: defaults(),
		names: map[string][]string{}, first: map[titled]hcl.Range{}, resolved: map[string][]netip.Addr{},
	}
	if len(src) > maxFile {
		d.fail(d.start(), say("the configuration is larger than %d KiB", maxFile>>10).hint("is this the right file?"))
		return nil, d.finish()
	}
	if at, deep := tooDeep(name, src); deep {
		d.fail(at, say("the configuration is nested too deeply"))
		return nil, d.finish()
	}
	parsed, diags := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	if diags.HasErrors() {
		// What follows a syntax error is guesswork: reporting it would be noise.
		d.diags = syntaxErrors(diags)
		return nil, d.finish()
	}
	d.decode(parsed.Body.(*hclsyntax.Body)) // documented by ParseConfig
	out := d.finish()
	if out.HasErrors() {
		return nil, out
	}
	d.cfg.File = name
	return &d.cfg, out
}

// tooDeep finds nesting that would overflow the stack of hclsyntax's parser,
// which recurses without a limit: a panic that cannot be recovered. Besides
// brackets it recurses on the operators and directives counted here, none of
// which this grammar has a use for.
func tooDeep(name string, src []byte) (hcl.Range, bool) {
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos) // the parser reports the same errors again
	depth, odd := 0, 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp:
			depth++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenTemplateSeqEnd:
			depth = max(0, depth-1)
		case hclsyntax.TokenBang, hclsyntax.TokenMinus, hclsyntax.TokenQuestion, hclsyntax.TokenStar, hclsyntax.TokenTemplateControl:
			odd++
		}
		if depth > maxNesting || odd > maxOddities {
			return t.Range, true
		}
	}
	return hcl.Range{}, false
}

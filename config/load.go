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
	"os"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/config/layers"
	"github.com/vault-stepup/stepup/config/paths"
)

// Limits of what is read; those of arguments are in their tags: beyond them a value is a
// slip of the pen, and a late surprise.
const (
	maxPemFile  = 4 << 20
	maxUnixPath = 104 // sun_path of macOS; Linux has 108
	maxResolve  = 2 * time.Second
)

// Options are what the meaning of a file depends on besides its text.
type Options struct {
	Env        func(string) string // an empty answer means unset
	Home       string              // ${home}; "": from Env
	RuntimeDir string              // ${runtime_dir}; "": [RuntimeDir]
	StateDir   string              // ${state_dir}; "": [StateDir]
	User       string              // ${user} where no variables block sets it; "": from Env, or the system
	// Shared is the file for all users of the machine, which need not be there; "" for none. It
	// belongs to root, or to the user Admin.
	Shared string
	Admin  int
	// Resolve finds the addresses of an upstream host, to refuse one that is a
	// listener of ours. It is asked only when the ports are equal. nil:
	// net.DefaultResolver. It is given 2 s.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
}

func (o Options) filled() Options {
	o.Home = cmp.Or(o.Home, paths.Home(o.Env))
	o.RuntimeDir = cmp.Or(o.RuntimeDir, paths.RuntimeDir(o.Env))
	o.StateDir = cmp.Or(o.StateDir, paths.StateDir(o.Env))
	if o.Resolve == nil {
		o.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	return o
}

// Load reads and checks the user's file at path, together with the shared one and with all that
// they include. It refuses files that another user could change. With errors among the
// diagnostics the Config is nil. It reads the certificate files that the configuration names,
// and may block for 2 s per vault on name resolution, but changes nothing.
func Load(path string, opt Options) (*agent.Config, Diagnostics) {
	return loadWith(newDecoder(path, opt), path)
}

func loadWith(d *decoder, path string) (*agent.Config, Diagnostics) {
	tree := layers.Read(places(d, path))
	if missing(tree, path, d.opt) {
		return nil, withoutPlace(say("there is no configuration at %s", path).hint("%s", paths.HintInit(path, d.opt.Env)))
	}
	return d.load(tree, path)
}

// Parse is [Load] for a text instead of a path; name stands for the path in diagnostics.
func Parse(name string, src []byte, opt Options) (*agent.Config, Diagnostics) {
	return newDecoder(name, opt).load(layers.Parse(name, src), name)
}

// Files are the files of a configuration.
type Files struct {
	Watch  []string // files and folders whose changes may change it, whether they are there or not
	Digest string   // tells one content from another; "" where there is none
}

// FilesOf finds the files that [Load] reads.
func FilesOf(path string, opt Options) Files {
	d := newDecoder(path, opt)
	tree := layers.Read(places(d, path))
	if len(tree.Sources)+len(tree.Problems) == 0 {
		return Files{Watch: tree.Watch}
	}
	return Files{tree.Watch, tree.Digest()}
}

func newDecoder(name string, opt Options) *decoder {
	return &decoder{
		file: &file{opt: opt.filled(), name: name}, cfg: defaults(),
		names: map[string][]string{}, first: map[titled]hcl.Range{}, resolved: map[string][]netip.Addr{},
	}
}

// places are those of the files that belong to the user's one at path.
func places(d *decoder, path string) layers.Options {
	return layers.Options{
		Shared: d.opt.Shared, Admin: d.opt.Admin, Own: path,
		Expand: func(e hclsyntax.Expression) (string, bool) {
			t, ok := d.textOf(e, wantText)
			return t.value, ok
		},
	}
}

// missing reports whether there is nothing to read at path. Where there is a shared file, a user
// need not have one, but a file that was named must be there.
func missing(tree *layers.Tree, path string, opt Options) bool {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) || len(tree.Problems) > 0 {
		return false
	}
	_, own := ownSource(tree)
	return !own && (len(tree.Sources) == 0 || path != paths.UserPath(opt.Env))
}

// ownSource is the first file that is not shared, else the first of all; ok is false without
// one that is not shared.
func ownSource(tree *layers.Tree) (first layers.Source, ok bool) {
	for _, s := range tree.Sources {
		if !s.Shared {
			return s, true
		}
		if first.Path == "" {
			first = s
		}
	}
	return first, false
}

package layers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// merge makes one body of the blocks of both layers. A block that there is once, and an
// mfa_method, has the arguments of both, where the user's own count; whether they may be what
// they are is for the reader of the arguments, who asks Locked. The user's own rules come behind
// the last shared one that is locked, and before the others: no locked rule is ever hidden by
// one, and every other can be.
func (t *Tree) merge(shared, own hclsyntax.Blocks) {
	at := 0 // behind the last one
	for i, b := range shared {
		if b.Type == "step_up" && t.locked(b.Body) {
			at, t.LockedRules = i+1, append(t.LockedRules, b)
		}
	}
	var all, late hclsyntax.Blocks
	for i, b := range shared {
		if b.Type == "step_up" && i >= at {
			late = append(late, b)
		} else {
			all = append(all, b)
		}
	}
	joined := map[string]*hclsyntax.Block{} // the user's own, by their titles
	for _, b := range own {
		i := slices.IndexFunc(shared, func(s *hclsyntax.Block) bool { return title(s) == title(b) })
		switch named := len(b.Labels) > 0 && b.Type != "mfa_method"; {
		case i < 0, b.Type == "listener":
			all = append(all, b)
			continue
		case named:
			t.Problems = append(t.Problems, Problem{
				At: b.DefRange(), Summary: fmt.Sprintf("%s %q is in the shared configuration already", b.Type, strings.Join(b.Labels, " ")),
				Hint: fmt.Sprintf("it is %s: give yours another name", Where(shared[i].DefRange(), b.DefRange())),
			})
			continue
		}
		if first := joined[title(b)]; first != nil {
			t.Problems = append(t.Problems, Problem{
				At: b.DefRange(), Summary: fmt.Sprintf("there are two %s blocks", b.Type), Hint: "join it with the one " + Where(first.DefRange(), b.DefRange()),
			})
			continue
		}
		joined[title(b)] = b
		t.join(shared[i].Body, b.Body)
	}
	for _, b := range append(all, late...) {
		if b.Type == "variables" {
			t.Variables = append(t.Variables, b)
		} else {
			t.Body.Blocks = append(t.Body.Blocks, b)
		}
	}
}

func title(b *hclsyntax.Block) string { return fmt.Sprintf("%s %q", b.Type, b.Labels) }

// join adds what the user's own block has to the shared one.
func (t *Tree) join(shared, own *hclsyntax.Body) {
	for name, a := range own.Attributes {
		if before := shared.Attributes[name]; before != nil {
			t.Overridden[a] = before
		}
		shared.Attributes[name] = a
	}
	shared.Blocks = append(shared.Blocks, own.Blocks...)
}

// locked reports whether an argument of a body, or of the blocks in it, is.
func (t *Tree) locked(body *hclsyntax.Body) bool {
	for _, a := range body.Attributes {
		if t.Locked[a] {
			return true
		}
	}
	return slices.ContainsFunc(body.Blocks, func(b *hclsyntax.Block) bool { return t.locked(b.Body) })
}

// Shared reports whether a place is in a shared file.
func (t *Tree) Shared(at hcl.Range) bool {
	i := t.index(at.Filename)
	return i >= 0 && t.Sources[i].Shared
}

// Where says where something is, to a reader at another place: "on line 5", or in which file.
func Where(at, from hcl.Range) string {
	if at.Filename == from.Filename {
		return fmt.Sprintf("on line %d", at.Start.Line)
	}
	return fmt.Sprintf("at %s:%d", at.Filename, at.Start.Line)
}

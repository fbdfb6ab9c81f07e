package express

import "sync"

const (
	small = 4 << 10              // holds most requests and answers
	large = maxHead + maxRequest // holds all that are kept
)

// buffers are shared by the connections of a server: most of these are idle, and hold none
// but a small one. The zero value is ready.
type buffers struct{ small, large sync.Pool }

func (p *buffers) take() []byte {
	if b, ok := p.small.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, small)
}

// give takes back b, which nothing uses any more.
func (p *buffers) give(b []byte) {
	switch cap(b) {
	case small:
		p.small.Put(&b)
	case large:
		p.large.Put(&b)
	}
}

// shrink returns an empty small buffer in the place of b.
func (p *buffers) shrink(b []byte) []byte {
	if cap(b) == small {
		return b[:0]
	}
	p.give(b)
	return p.take()
}

// grow returns b with room for more, up to the size of a large one.
func (p *buffers) grow(b []byte) []byte {
	if len(b) < cap(b) {
		return b
	}
	var grown []byte
	if l, ok := p.large.Get().(*[]byte); ok {
		grown = (*l)[:0]
	} else {
		grown = make([]byte, 0, large)
	}
	grown = append(grown, b...)
	p.give(b)
	return grown
}

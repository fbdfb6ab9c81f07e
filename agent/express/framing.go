package express

// A framing finds the end of the body of an answer.
type framing struct {
	left    int64 // bytes to come of a body with a Content-Length
	chunked bool
	chunks  chunks
}

// advance goes over the next bytes. n of them belong to the body, and data gets those of
// its content; it may be nil. ok is false for what is no chunk.
func (f *framing) advance(b []byte, data func([]byte)) (n int, done, ok bool) {
	if f.chunked {
		return f.chunks.advance(b, data)
	}
	n = int(min(int64(len(b)), f.left))
	f.left -= int64(n)
	if data != nil {
		data(b[:n])
	}
	return n, f.left == 0, true
}

// A chunkState is what comes next in a chunked body (RFC 9112, 7.1).
type chunkState int

const (
	inSize      chunkState = iota // a digit, or the end of the digits
	inExtension                   // up to the end of the line
	atSizeEnd                     // LF
	inData
	afterData    // CR
	atDataEnd    // LF
	atTrailer    // the first byte of a trailer, or the end
	inTrailer    // up to the end of the line
	atTrailerEnd // LF
	atLastEnd    // LF of the empty line
)

const (
	// maxDigits of the length of a chunk: 256 TiB.
	maxDigits = 12
	// maxExtra is the length of an extension, or of all trailers: with the rest of its line
	// less than a buffer of net/http, which takes no more.
	maxExtra = 4000
	// maxExcess is how much of all extensions is in no proportion to the content, as net/http
	// counts it: 16 bytes for a chunk and two for each byte in it are free.
	maxExcess = 16 << 10
)

// chunks goes over the bytes of a chunked body as they stand. They are handed on so: what
// is in the grammar has one end only.
type chunks struct {
	state  chunkState
	size   int64
	digits int
	extra  int
	excess int64
	colon  bool // seen in this trailer
}

// advance is [framing.advance].
func (c *chunks) advance(b []byte, data func([]byte)) (n int, done, ok bool) {
	for n < len(b) {
		if c.state == inData {
			part := b[n:min(int64(len(b)), int64(n)+c.size)]
			c.size -= int64(len(part))
			n += len(part)
			if data != nil {
				data(part)
			}
			if c.size == 0 {
				c.state = afterData
			}
			continue
		}
		done, ok = c.step(b[n])
		n++
		if done || !ok {
			return n, done, ok
		}
	}
	return n, false, true
}

// step takes a byte that is no content.
func (c *chunks) step(b byte) (done, ok bool) {
	switch c.state {
	case inSize:
		return false, c.sizeByte(b)
	case inExtension:
		return false, c.text(b, atSizeEnd)
	case atSizeEnd:
		c.state = inData
		if c.size == 0 {
			c.state = atTrailer
		}
		return false, b == '\n' && c.balance()
	case afterData:
		c.state = atDataEnd
		return false, b == '\r'
	case atDataEnd:
		c.state, c.digits = inSize, 0
		return false, b == '\n'
	case atTrailer:
		if b == '\r' {
			c.state = atLastEnd
			return false, true
		}
		c.state, c.colon = inTrailer, false
		return false, isToken(b)
	case inTrailer:
		if !c.colon && b != ':' {
			return false, isToken(b) && c.count()
		}
		c.colon = true
		return false, c.text(b, atTrailerEnd)
	case atTrailerEnd:
		c.state = atTrailer
		c.extra += len("?\r\n") // not counted yet
		return false, b == '\n'
	}
	return b == '\n', b == '\n' // atLastEnd
}

// sizeByte takes a byte of the line with a chunk's length.
func (c *chunks) sizeByte(b byte) bool {
	if v, ok := hexValue(b); ok {
		if c.digits == 0 {
			c.size, c.extra = 0, 0
		}
		c.digits++
		c.size = c.size<<4 | int64(v)
		return c.digits <= maxDigits
	}
	switch b {
	case '\r':
		c.state = atSizeEnd
	case ';':
		c.state = inExtension
	default:
		return false
	}
	return c.digits > 0
}

// text takes a byte of a text that ends with its line, after which end comes.
func (c *chunks) text(b byte, end chunkState) bool {
	if b == '\r' {
		c.state = end
		return true
	}
	return (b >= ' ' && b <= '~' || b == '\t') && c.count()
}

// balance takes the line with a chunk's length, and the line end behind the chunk.
func (c *chunks) balance() bool {
	c.excess = max(0, c.excess+int64(c.digits+len(";")+c.extra+len("\r\n"))-16-2*c.size)
	return c.excess <= maxExcess
}

// count takes one byte of what has a limit.
func (c *chunks) count() bool {
	c.extra++
	return c.extra <= maxExtra
}

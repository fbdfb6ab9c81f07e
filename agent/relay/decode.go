package relay

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"github.com/vault-stepup/stepup/agent/mfa"
)

// maxCodings are undone of one answer. A load balancer packs once.
const maxCodings = 2

// maxWindow bounds the memory that a zstd text may ask for: RFC 9659 limits it on the web.
const maxWindow = 8 << 20

var errCoding = errors.New("its Content-Encoding is not known")

// codings are the Content-Encoding of h, in the order in which they were applied.
func codings(h http.Header) []string {
	var all []string
	for name := range strings.SplitSeq(strings.Join(h.Values("Content-Encoding"), ","), ",") {
		if name = strings.ToLower(strings.TrimSpace(name)); name != "" && name != "identity" {
			all = append(all, name)
		}
	}
	return all
}

// canDecode reports whether decode knows all of them.
func canDecode(codings []string) bool {
	for _, name := range codings {
		switch name {
		case "gzip", "x-gzip", "deflate", "br", "zstd":
		default:
			return false
		}
	}
	return len(codings) <= maxCodings
}

// decode undoes what a load balancer has packed Vault's answer by. nil is what cannot be
// unpacked within the limit of a challenge, however small it came: it is none of Vault's.
func decode(body []byte, codings []string) []byte {
	if !canDecode(codings) {
		return nil
	}
	for i := len(codings) - 1; i >= 0; i-- {
		text, err := unpack(body, codings[i])
		if err != nil || len(text) > mfa.MaxBody {
			return nil
		}
		body = text
	}
	return body
}

// unpack undoes one coding, up to one byte more than a challenge may have.
func unpack(body []byte, coding string) ([]byte, error) {
	var r io.Reader
	switch coding {
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		r = z
	case "deflate":
		z, err := zlib.NewReader(bytes.NewReader(body))
		if err != nil { // as some send it, against RFC 9110
			r = flate.NewReader(bytes.NewReader(body))
			break
		}
		r = z
	case "br":
		r = brotli.NewReader(bytes.NewReader(body))
	case "zstd":
		z, err := zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	default:
		return nil, errCoding
	}
	return io.ReadAll(io.LimitReader(r, mfa.MaxBody+1))
}

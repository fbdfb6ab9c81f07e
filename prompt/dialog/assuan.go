package dialog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/vault-stepup/stepup/prompt"
)

// Limits of the Assuan protocol, "Client requests": a line has at most 1000
// bytes with its end.
const (
	maxAssuanLine = 1000
	maxAssuanText = maxAssuanLine - len("SETTIMEOUT ") - 1
)

// An assuanError is the other side's ERR line.
type assuanError struct {
	code uint32
	text string // sanitised
}

func (e assuanError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("error %d %s", e.code, e.text))
}

var (
	errAssuanLine  = errors.New("line of the other side is too long or makes no sense")
	errAssuanCount = errors.New("the other side talks without end")
)

// assuan is the client's side of a conversation.
type assuan struct {
	in  *bufio.Reader
	out io.Writer
}

func newAssuan(in io.Reader, out io.Writer) *assuan {
	return &assuan{in: bufio.NewReaderSize(in, 2*maxAssuanLine), out: out}
}

// call sends a command and returns the data of the reply. An ERR line of the other side
// is returned as an assuanError.
func (a *assuan) call(command, text string) (string, error) {
	line := command
	if text != "" {
		line += " " + clipEscape(assuanEscape(text), maxAssuanLine-len(command)-2)
	}
	if _, err := io.WriteString(a.out, line+"\n"); err != nil {
		return "", fmt.Errorf("writing to it: %w", err)
	}
	return a.reply()
}

// reply reads up to the line that ends a reply and returns the data before it.
func (a *assuan) reply() (string, error) {
	var data strings.Builder
	for range prompt.MaxAnswer {
		raw, err := a.in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return "", errAssuanLine
		case err != nil:
			return "", fmt.Errorf("reading from it: %w", err)
		}
		line := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "OK":
			return data.String(), nil
		case "ERR":
			return "", parseAssuanError(rest)
		case "D":
			data.WriteString(assuanUnescape(rest))
			if data.Len() > 2*prompt.MaxAnswer {
				return "", errAssuanLine
			}
		case "S", "#", "":
		default:
			if !strings.HasPrefix(line, "#") {
				return "", errAssuanLine // an inquiry; we have announced that we answer none
			}
		}
	}
	return "", errAssuanCount
}

func parseAssuanError(s string) error {
	number, text, _ := strings.Cut(s, " ")
	code, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return errAssuanLine
	}
	return assuanError{code: uint32(code), text: prompt.Sanitize(text, prompt.MaxName)}
}

// assuanEscape writes the bytes that would end a line, and the percent sign
// itself, as %XX.
func assuanEscape(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", "\x00", "%00").Replace(s)
}

// clipEscape shortens an escaped text without leaving half of an escape at its
// end.
func clipEscape(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	s = s[:limit]
	if i := strings.LastIndexByte(s, '%'); i >= 0 && i > len(s)-3 {
		s = s[:i]
	}
	return s
}

// assuanUnescape takes back any %XX; a percent sign without two hexadecimal digits
// stands for itself.
func assuanUnescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

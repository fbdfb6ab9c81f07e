package messagebustest

import (
	"bytes"
	"encoding/binary"

	"github.com/godbus/dbus/v5"
)

// Malformed lists messages that no bus passes on, most of which end a process that
// reads them with godbus.
func Malformed() map[string][]byte {
	own := func(member string, body ...any) []byte {
		var b bytes.Buffer
		_ = signal(&dbus.Signal{Sender: "org.freedesktop.DBus", Path: "/", Name: "org.freedesktop.DBus." + member, Body: body}).EncodeTo(&b, binary.LittleEndian)
		return b.Bytes()
	}
	number := binary.LittleEndian.AppendUint32
	return map[string][]byte{
		"a name lost that is not said":       own("NameLost"),
		"a name lost that is a number":       own("NameLost", uint32(1)),
		"a name acquired that is not said":   own("NameAcquired"),
		"a name acquired that is a list":     own("NameAcquired", []string{"a"}, "b"),
		"an array of nothing":                message(4, fields(field(8, "g", "a()")), append(number(nil, 8), make([]byte, 12)...)),
		"an array of nothing in the header":  message(4, fields(append(entry(10, "a()"), append(number(nil, 8), make([]byte, 8)...)...)), nil),
		"a list of files without files":      message(4, fields(field(8, "g", "ah"), entryNumber(9, 1)), number(number(nil, 4), 0)),
		"a file without a file":              message(4, fields(field(8, "g", "h"), entryNumber(9, 1)), number(nil, 0)),
		"a reply to nothing":                 message(2, nil, nil),
		"an error without a name":            message(3, entryNumber(5, 1), nil),
		"a sender that is a number":          message(4, fields(entryNumber(7, 1)), nil),
		"a kind that does not exist":         message(9, fields(), nil),
		"a body that ends early":             message(4, fields(field(8, "g", "su")), number(nil, 100)),
		"a key that is a list":               message(4, fields(field(8, "g", "a{ayy}")), number(nil, 0)),
		"a key that is a variant":            message(4, fields(field(8, "g", "a{vs}")), append(number(nil, 8), make([]byte, 12)...)),
		"a header that is longer than said":  message(4, fields(field(8, "g", "s"))[:20], nil),
		"a message that is far too long":     message(4, fields(), make([]byte, 1<<20+8)),
		"a call of a method that has no end": message(1, field(1, "o", "/"), nil),
	}
}

// message puts a message together, well-formed or not.
func message(kind byte, fields, body []byte) []byte {
	m := []byte{'l', kind, 0, 1}
	m = binary.LittleEndian.AppendUint32(m, uint32(len(body)))
	m = binary.LittleEndian.AppendUint32(m, 77) // its number
	m = binary.LittleEndian.AppendUint32(m, uint32(len(fields)))
	return append(align(append(m, fields...)), body...)
}

// fields are those of a signal, with more of them.
func fields(more ...[]byte) []byte {
	all := field(1, "o", "/x")
	for _, f := range append([][]byte{field(2, "s", "com.example.X"), field(3, "s", "Y")}, more...) {
		all = append(align(all), f...)
	}
	return all
}

func field(code byte, signature, value string) []byte {
	f := entry(code, signature)
	if signature == "g" {
		f = append(f, byte(len(value)))
	} else {
		f = binary.LittleEndian.AppendUint32(f, uint32(len(value)))
	}
	return append(append(f, value...), 0)
}

func entryNumber(code byte, value uint32) []byte {
	return binary.LittleEndian.AppendUint32(entry(code, "u"), value)
}

// entry begins a field, up to where four bytes of length or number stand.
func entry(code byte, signature string) []byte {
	f := append([]byte{code, byte(len(signature))}, signature...)
	f = append(f, 0)
	for signature != "g" && len(f)%4 != 0 {
		f = append(f, 0)
	}
	return f
}

func align(b []byte) []byte { return append(b, make([]byte, (8-len(b)%8)%8)...) }

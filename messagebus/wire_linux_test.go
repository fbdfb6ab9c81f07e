package messagebus

import (
	"bytes"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/vault-stepup/stepup/messagebus/messagebustest"
)

// A message that is passed on is one that the library reads to its end.
func FuzzDecode(f *testing.F) {
	for _, m := range messagebustest.Malformed() {
		if len(m) < 1000 {
			f.Add(m)
		}
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		if _, err := decode(m); err != nil {
			return
		}
		rest := bytes.NewReader(m)
		if _, err := dbus.DecodeMessage(rest); err != nil || rest.Len() > 0 {
			t.Errorf("left %d bytes, error %v", rest.Len(), err)
		}
	})
}

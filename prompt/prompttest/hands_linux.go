package prompttest

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Hands are a US keyboard and a mouse that a Wayland compositor has for as long as the test
// runs. wtype would plug a keyboard in for each text, with a layout in which GTK 3 takes no
// Return.
type hands struct {
	t    testing.TB
	conn *net.UnixConn
}

// Wayland's numbers of the objects that hands need.
const (
	displayObject = iota + 1
	registryObject
	syncedObject
	seatObject
	keyboardsObject
	miceObject
	keyboardObject
	mouseObject
)

// What stands on the keys, at their numbers in Linux: without and with Shift.
const (
	plainKeys   = "\x00\x001234567890-=\x00\x00qwertyuiop[]\x00\x00asdfghjkl;'`\x00\\zxcvbnm,./\x00\x00\x00 "
	shiftedKeys = "\x00\x00!@#$%^&*()_+\x00\x00QWERTYUIOP{}\x00\x00ASDFGHJKL:\"~\x00|ZXCVBNM<>?"
	shiftKey    = 42
)

func namedKey(name string) int {
	return map[string]int{"Escape": 1, "Tab": 15, "Return": 28, "Home": 102, "End": 107, "Down": 108}[name]
}

const usLayout = `xkb_keymap { xkb_keycodes { include "evdev" }; xkb_types { include "complete" };
xkb_compat { include "complete" }; xkb_symbols { include "pc+us" }; };` + "\x00"

// plugIn gives the compositor that listens at socket a keyboard and a mouse.
func plugIn(t testing.TB, socket string) *hands {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	check(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	check(t, conn.SetDeadline(time.Now().Add(10*time.Minute))) // a guard
	h := &hands{t, conn}
	h.send(nil, displayObject, 1, uint32(registryObject)) // get_registry
	globals := h.globals()
	for _, global := range []struct { // in the order of their numbers
		name   string
		object uint32
	}{{"wl_seat", seatObject}, {"zwp_virtual_keyboard_manager_v1", keyboardsObject}, {"zwlr_virtual_pointer_manager_v1", miceObject}} {
		if globals[global.name] == 0 {
			t.Fatalf("the compositor has no %s", global.name)
		}
		h.send(nil, registryObject, 0, globals[global.name], global.name, uint32(1), global.object) // bind
	}
	h.send(nil, keyboardsObject, 0, uint32(seatObject), uint32(keyboardObject)) // create_virtual_keyboard
	h.send(nil, miceObject, 0, uint32(seatObject), uint32(mouseObject))         // create_virtual_pointer
	layout, err := unix.MemfdCreate("layout", unix.MFD_CLOEXEC)
	check(t, err)
	defer unix.Close(layout)
	_, err = unix.Write(layout, []byte(usLayout))
	check(t, err)
	const textV1 = uint32(1)
	h.send(syscall.UnixRights(layout), keyboardObject, 0, textV1, uint32(len(usLayout))) // keymap
	return h
}

// send sends a request of these arguments, with a file in rights.
func (h *hands) send(rights []byte, object, request uint32, args ...any) {
	h.t.Helper()
	order := binary.NativeEndian
	var body []byte
	for _, arg := range args {
		switch v := arg.(type) {
		case uint32:
			body = order.AppendUint32(body, v)
		case string:
			body = append(order.AppendUint32(body, uint32(len(v)+1)), v...)
			body = append(body, make([]byte, 4-len(v)%4)...)
		default:
			h.t.Fatalf("an argument of type %T", arg)
		}
	}
	head := order.AppendUint32(order.AppendUint32(nil, object), uint32(len(body)+8)<<16|request)
	_, _, err := h.conn.WriteMsgUnix(append(head, body...), rights, nil)
	check(h.t, err)
}

// globals are the numbers of what the compositor has, by name.
func (h *hands) globals() map[string]uint32 {
	h.t.Helper()
	globals := map[string]uint32{}
	h.roundTrip(func(object uint32, body []byte) {
		if object == registryObject {
			length := binary.NativeEndian.Uint32(body[4:])
			globals[string(body[8:8+length-1])] = binary.NativeEndian.Uint32(body)
		}
	})
	return globals
}

// roundTrip waits until the compositor has done all that was sent. event gets what it sends
// meanwhile.
func (h *hands) roundTrip(event func(object uint32, body []byte)) {
	h.t.Helper()
	h.send(nil, displayObject, 0, uint32(syncedObject)) // sync
	for {
		head := h.read(8)
		object, length := binary.NativeEndian.Uint32(head), binary.NativeEndian.Uint32(head[4:])
		body := h.read(int(length>>16) - 8)
		const isError = 0
		switch {
		case object == syncedObject:
			return
		case object == displayObject && length&0xffff == isError:
			h.t.Fatalf("the compositor said: %q", body)
		}
		event(object, body)
	}
}

func (h *hands) read(n int) []byte {
	h.t.Helper()
	data := make([]byte, n)
	for got := 0; got < n; {
		more, err := h.conn.Read(data[got:])
		check(h.t, err)
		got += more
	}
	return data
}

// press presses the key of a name as xdotool has it, such as "shift+Tab".
func (h *hands) press(key string) {
	h.t.Helper()
	name, shifted := strings.CutPrefix(key, "shift+")
	h.stroke(namedKey(name), shifted, key)
}

// write types a text.
func (h *hands) write(text string) {
	h.t.Helper()
	for _, c := range []byte(text) {
		if i := strings.IndexByte(shiftedKeys, c); i > 1 {
			h.stroke(i, true, fmt.Sprintf("%q", c))
			continue
		}
		h.stroke(strings.IndexByte(plainKeys, c), false, fmt.Sprintf("%q", c))
	}
}

func (h *hands) stroke(key int, shifted bool, what string) {
	h.t.Helper()
	if key <= 0 {
		h.t.Fatalf("no key for %s", what)
	}
	const now = uint32(0)
	set := func(key int, down bool) {
		state := uint32(0)
		if down {
			state = 1
		}
		h.send(nil, keyboardObject, 1, now, uint32(key), state)
	}
	hold := func(down bool) {
		mask := uint32(0)
		if down {
			mask = 1
		}
		set(shiftKey, down)
		h.send(nil, keyboardObject, 2, mask, uint32(0), uint32(0), uint32(0)) // modifiers
	}
	if shifted {
		hold(true)
		defer hold(false)
	}
	set(key, true)
	set(key, false)
}

// move moves the mouse there, on a screen of this size.
func (h *hands) move(x, y, width, height int) {
	h.t.Helper()
	const now = uint32(0)
	h.send(nil, mouseObject, 1, now, uint32(x), uint32(y), uint32(width), uint32(height)) // motion_absolute
	h.send(nil, mouseObject, 4)                                                           // frame
}

// click presses the left button.
func (h *hands) click() {
	h.t.Helper()
	const now, leftButton = uint32(0), uint32(0x110)
	for _, state := range []uint32{1, 0} {
		h.send(nil, mouseObject, 2, now, leftButton, state) // button
		h.send(nil, mouseObject, 4)
	}
}

package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"unicode/utf16"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/vault-stepup/stepup/prompt"
)

// windowsTTY is the console of this process.
type windowsTTY struct {
	in, out windows.Handle
}

// Open opens the console of this process. It fails with ErrUnavailable when
// there is none.
func Open() (TTY, error) {
	in, err := openConsole("CONIN$")
	if err != nil {
		return nil, fmt.Errorf("%w: no console: %w", prompt.ErrUnavailable, err)
	}
	out, err := openConsole("CONOUT$")
	if err != nil {
		_ = windows.CloseHandle(in)
		return nil, fmt.Errorf("%w: no console: %w", prompt.ErrUnavailable, err)
	}
	return &windowsTTY{in: in, out: out}, nil
}

func openConsole(name string) (windows.Handle, error) {
	p, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return 0, err
	}
	return windows.CreateFile(p, windows.GENERIC_READ|windows.GENERIC_WRITE,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE, nil, windows.OPEN_EXISTING, 0, 0)
}

func (t *windowsTTY) Close() error {
	return errors.Join(windows.CloseHandle(t.in), windows.CloseHandle(t.out))
}

func (t *windowsTTY) Write(p []byte) (int, error) {
	n, err := windows.Write(t.out, p)
	if err != nil {
		return n, fmt.Errorf("writing to the console: %w", err)
	}
	return n, nil
}

func (t *windowsTTY) ReadLine(ctx context.Context, shown bool, ask func() error) (string, error) {
	var old uint32
	if err := windows.GetConsoleMode(t.in, &old); err != nil {
		return "", fmt.Errorf("reading console modes: %w", err)
	}
	// No line editing by the console: its read could not be interrupted. No
	// processed input: ctrl-c is an answer to us, not a signal to every program.
	modes := old &^ (windows.ENABLE_LINE_INPUT | windows.ENABLE_ECHO_INPUT | windows.ENABLE_PROCESSED_INPUT)
	if err := windows.SetConsoleMode(t.in, modes); err != nil {
		return "", fmt.Errorf("setting console modes: %w", err)
	}
	defer func() { _ = windows.SetConsoleMode(t.in, old) }()
	// A "y" or a code typed for something else must not answer this.
	if err := windows.FlushConsoleInputBuffer(t.in); err != nil {
		return "", fmt.Errorf("dropping typed-ahead input: %w", err)
	}
	if err := ask(); err != nil {
		return "", err
	}
	line, err := t.readLine(ctx, shown)
	if ctx.Err() != nil {
		_ = windows.FlushConsoleInputBuffer(t.in) // no shell may run what was typed too late
		return "", ctx.Err()
	}
	return line, err
}

func (t *windowsTTY) readLine(ctx context.Context, shown bool) (string, error) {
	wake, err := windows.CreateEvent(nil, 1, 0, nil)
	if err != nil {
		return "", fmt.Errorf("making an event: %w", err)
	}
	signalled := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(signalled)
		_ = windows.SetEvent(wake)
	})
	defer func() {
		if !stop() {
			<-signalled // the handle must outlive its use
		}
		_ = windows.CloseHandle(wake)
	}()
	var line []uint16
	for {
		if _, err := windows.WaitForMultipleObjects([]windows.Handle{wake, t.in}, false, windows.INFINITE); err != nil {
			return "", fmt.Errorf("waiting for the console: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return "", err
		}
		key, ok, err := t.readKey()
		if err != nil {
			return "", err
		}
		if !ok {
			continue
		}
		next, done, err := edit(line, key)
		if done || err != nil {
			_, _ = t.Write([]byte("\r\n"))
			return string(utf16.Decode(next)), err
		}
		if shown {
			t.echo(line, next)
		}
		line = next
	}
}

func edit(line []uint16, key uint16) (next []uint16, done bool, err error) {
	const ctrlC, ctrlD, ctrlZ, backspace, delete = 3, 4, 26, 8, 127
	switch key {
	case ctrlC:
		return nil, true, prompt.ErrDenied
	case ctrlD, ctrlZ:
		if len(line) == 0 {
			return nil, true, io.EOF
		}
		return line, false, nil
	case '\r', '\n':
		return line, true, nil
	case backspace, delete:
		return line[:max(len(line)-1, 0)], false, nil
	}
	if key < ' ' || len(line) >= prompt.MaxAnswer {
		return line, false, nil
	}
	return append(line, key), false, nil
}

// echo brings the screen from one state of the line to the next.
func (t *windowsTTY) echo(old, next []uint16) {
	switch {
	case len(next) < len(old):
		_, _ = t.Write([]byte("\b \b"))
	case len(next) > len(old):
		_, _ = t.Write([]byte(string(utf16.Decode(next[len(old):]))))
	}
}

// keyEvent is INPUT_RECORD of the console with a KEY_EVENT_RECORD in it.
type keyEvent struct {
	eventType   uint16
	_           uint16
	down        int32
	repeat      uint16
	virtualKey  uint16
	virtualScan uint16
	char        uint16
	control     uint32
}

// readKey reads one event; ok is false when it is not a typed character.
func (t *windowsTTY) readKey() (char uint16, ok bool, err error) {
	const isKey = 1
	var event keyEvent
	var n uint32
	read := windows.NewLazySystemDLL("kernel32.dll").NewProc("ReadConsoleInputW")
	r, _, callErr := read.Call(uintptr(t.in), uintptr(unsafe.Pointer(&event)), 1, uintptr(unsafe.Pointer(&n)))
	if r == 0 {
		return 0, false, fmt.Errorf("reading the console: %w", callErr)
	}
	return event.char, n == 1 && event.eventType == isKey && event.down != 0 && event.char != 0, nil
}

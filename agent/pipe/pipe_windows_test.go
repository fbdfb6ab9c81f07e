package pipe

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"
)

func TestPipe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "control.sock")
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrAbsent) {
		t.Fatalf("Dial before Listen: %v", err)
	}
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err == nil {
			_, err = io.WriteString(c, "hello")
			_ = c.Close()
		}
		accepted <- err
	}()
	// Windows has one pipe for all spellings of a path.
	c, err := Dial(t.Context(), strings.ToUpper(path))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if err := <-accepted; err != nil {
		t.Errorf("Accept: %v", err)
	}
	checkAccess(t, c)
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another program has made the pipe") {
		t.Errorf("a second Listen: %v", err)
	}
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
}

// checkAccess fails unless one user alone may use the pipe of c.
func checkAccess(t *testing.T, c any) {
	t.Helper()
	handle := windows.Handle(c.(interface{ Fd() uintptr }).Fd())
	sd, err := windows.GetSecurityInfo(handle, windows.SE_KERNEL_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		t.Fatal(err)
	}
	sid, err := userSID()
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := sd.DACL()
	if err != nil || list == nil || list.AceCount != 1 || !strings.HasPrefix(sd.String(), "O:"+sid.String()) || !strings.Contains(sd.String(), ";;;"+sid.String()+")") {
		t.Errorf("the pipe is %s, want one entry, for %s (%v)", sd, sid, err)
	}
}

// A pipe that another user made first gets nothing.
func TestPipeOfAnother(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "control.sock")
	name, err := Name(path)
	if err != nil {
		t.Fatal(err)
	}
	// The administrators are an owner that this user can name without being it.
	squatter, err := winio.ListenPipe(name, &winio.PipeConfig{SecurityDescriptor: "O:BAD:(A;;GA;;;WD)"})
	if err != nil {
		t.Fatal(err)
	}
	defer squatter.Close()
	defer occupy(name)()
	heard := make(chan string, 1)
	go func() {
		c, err := squatter.Accept()
		if err != nil {
			heard <- err.Error()
			return
		}
		got, _ := io.ReadAll(c)
		heard <- string(got)
	}()
	if _, err := Dial(t.Context(), path); err == nil || !strings.Contains(err.Error(), "belongs to another user (S-1-5-32-544)") {
		t.Errorf("Dial: %v", err)
	}
	if got := <-heard; got != "" {
		t.Errorf("the other user has heard %q", got)
	}
	if _, err := Listen(path); err == nil {
		t.Error("Listen has taken part in the pipe of another user")
	}
}

func TestName(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, path := range []string{`C:\a\control.sock`, `c:\A\.\Control.sock`, `C:\b\control.sock`} {
		name, err := Name(path)
		if err != nil {
			t.Fatal(err)
		}
		names[name] = true
	}
	if len(names) != 2 {
		t.Errorf("%v, want one name for each folder", names)
	}
}

package keyring_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/cache/keyring"
)

// patience is a limit that only a hanging test reaches.
const patience = time.Minute

func TestChildAnswers(t *testing.T) {
	t.Parallel()
	const secret = "hvs.SECRET"
	answers := func(json string) []string { return asChild("child-answers", json) }
	failed := func(why string) error {
		return &keyring.Error{Condition: keyring.Failed, Why: "the helper process of the keyring failed" + why}
	}
	for name, test := range map[string]struct {
		command []string
		want    error
	}{
		"ok":            {answers(`{"v":1,"status":"ok"}`), nil},
		"not found":     {answers(`{"v":1,"status":"not_found"}`), keyring.ErrNotFound},
		"too large":     {answers(`{"v":1,"status":"too_large"}`), keyring.ErrTooLarge},
		"locked":        {answers(`{"v":1,"status":"locked","why":"w"}`), &keyring.Error{Condition: keyring.Locked, Why: "w"}},
		"missing":       {answers(`{"v":1,"status":"missing","why":"w"}`), &keyring.Error{Condition: keyring.Missing, Why: "w"}},
		"disabled":      {answers(`{"v":1,"status":"disabled","why":"w"}`), &keyring.Error{Condition: keyring.Disabled, Why: "w"}},
		"unknown word":  {answers(`{"v":1,"status":"available"}`), &keyring.Error{Condition: keyring.Failed}},
		"other version": {answers(`{"v":2,"status":"ok"}`), failed(": the helper process of the keyring is of another version")},
		"no answer":     {answers(``), failed(": no answer")},
		"a crash":       {asChild("child-crashes"), failed(": exit status 3 no answer")},
		"a flood":       {asChild("child-floods"), failed(": no answer")},
		"the secret":    {asChild("child-mirrors"), failed("")},
		"no program":    {nil, failed(": no helper program is set")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			child := &keyring.Child{Command: test.command, Limit: patience}
			err := child.Set(t.Context(), "user", secret)
			if !reflect.DeepEqual(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Error("the error repeats the secret")
			}
		})
	}
	if !errors.Is(failed(""), keyring.ErrUnavailable) {
		t.Error("a keyring that fails is available")
	}
}

func TestChildKeepsSecretsToItsPipes(t *testing.T) {
	t.Parallel()
	child := &keyring.Child{
		Command: asChild("child-reveals"), Limit: patience,
		Env: append(os.Environ(), "VAULT_TOKEN=hvs.SECRET", "BAO_TOKEN=hvs.SECRET", "VAULT_ADDR=kept"),
	}
	seen, err := child.Get(t.Context(), "user")
	must(t, err)
	if !strings.Contains(seen.Reveal(), "VAULT_ADDR=kept") {
		t.Fatal("the child does not show its environment")
	}
	if strings.Contains(seen.Reveal(), "SECRET") {
		t.Error("a token of the environment reaches the child")
	}
	if err := child.Set(t.Context(), "user", "hvs.SECRET"); err != nil {
		t.Fatal(err)
	}
}

func TestChildLimit(t *testing.T) {
	t.Parallel()
	child := &keyring.Child{Command: asChild("child-hangs", listen(t).Addr().String()), Limit: 50 * time.Millisecond}
	_, err := child.Get(t.Context(), "user")
	var state *keyring.Error
	if !errors.As(err, &state) || state.Condition != keyring.Slow || state.Why != "the keyring did not answer within 50ms" {
		t.Errorf("error %v", err)
	}
}

func TestChildKillsWhatItStarted(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("needs process groups")
	}
	listener := listen(t)
	child := &keyring.Child{Command: asChild("child-hangs", listener.Addr().String()), Limit: patience}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 1)
	go func() {
		_, err := child.Get(ctx, "user")
		result <- err
	}()
	var conns []net.Conn
	for range 2 { // the child and its child
		conn, err := listener.Accept()
		must(t, err)
		defer func() { _ = conn.Close() }()
		_, err = io.ReadFull(conn, make([]byte, 1))
		must(t, err)
		conns = append(conns, conn)
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) || !errors.Is(err, keyring.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	for _, conn := range conns { // ends when its process does
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("the process writes")
		}
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	dir, err := os.MkdirTemp("", "child") // a socket's path has 108 bytes at most
	must(t, err)
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	must(t, err)
	t.Cleanup(func() {
		_ = listener.Close()
		_ = os.RemoveAll(dir)
	})
	return listener
}

func TestServeRequests(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"nothing":   "",
		"not JSON":  "hvs.SECRET",
		"too large": `{"value":"` + strings.Repeat("SECRET", 10_000),
	} {
		var out bytes.Buffer
		err := keyring.Serve(strings.NewReader(request), &out)
		if err == nil || out.Len() > 0 || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: error %v, %d bytes of answer", name, err, out.Len())
		}
	}
	for name, test := range map[string]struct{ request, why string }{
		"other version": {`{"v":9,"op":"get","service":"s","user":"u"}`, "another version"},
		"no user":       {`{"v":1,"op":"get","service":"s"}`, "without service or user"},
		"no service":    {`{"v":1,"op":"delete","user":"u"}`, "without service or user"},
	} {
		in, feed := io.Pipe() // stays open: the answer is waited for
		go func() { _, _ = feed.Write([]byte(test.request)) }()
		var out bytes.Buffer
		must(t, keyring.Serve(in, &out))
		must(t, feed.Close())
		if !strings.Contains(out.String(), `"status":"failed"`) || !strings.Contains(out.String(), test.why) {
			t.Errorf("%s: %s", name, out.String())
		}
	}
}

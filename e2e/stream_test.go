package e2e

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The log of the server arrives line by line while the request stays open.
func TestMonitor(t *testing.T) {
	srv := parallel(t)
	a := startAgent(t, setup{responder: noPrompt(t)})
	vault, _ := cli(t, a.addr, "VAULT_TOKEN=root")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, vault.path, "monitor", "-log-level=debug")
	cmd.Env = vault.env
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	// Something to log, as often as it takes until the CLI listens.
	mount := fmt.Sprintf("monitored%d", users.Add(1))
	seen := ""
	for i := 0; seen == "" && ctx.Err() == nil; i++ {
		srv.write(t, fmt.Sprintf("sys/mounts/%s-%d", mount, i), map[string]any{"type": "kv"})
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatal("vault monitor ended")
			}
			seen = line
		case <-time.After(300 * time.Millisecond):
		}
	}
	if seen == "" {
		t.Fatal("no line came while the stream was open")
	}
	cancel()
	for range lines { // until the CLI has ended
	}
	_ = cmd.Wait()
}

// snapshot checks what "vault operator raft snapshot save" wrote: a whole gzip
// of a tar whose own sums hold. It returns the names of its members.
func snapshot(t *testing.T, file string) (names []string) {
	t.Helper()
	f, err := os.Open(file)
	check(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	check(t, err)
	members := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		check(t, err)
		if members[head.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		names = append(names, head.Name)
	}
	if _, err := io.Copy(io.Discard, z); err != nil {
		t.Fatalf("the end of the gzip: %v", err)
	}
	for line := range strings.Lines(string(members["SHA256SUMS"])) {
		want, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		sum := sha256.Sum256(members[name])
		equal(t, "the sum of "+name, hex.EncodeToString(sum[:]), want)
	}
	if len(members["SHA256SUMS"]) == 0 || len(members["state.bin"]) == 0 {
		t.Errorf("members %q", names)
	}
	return names
}

func TestRaft(t *testing.T) {
	t.Parallel()
	srv, key := startRaft(t)
	srv.write(t, "sys/mounts/bulk", map[string]any{"type": "kv"})
	noise := strings.Repeat("0123456789abcdef", 32<<10)
	for i := range 8 { // sizes that no buffer holds by chance
		srv.write(t, fmt.Sprintf("bulk/%d", i), map[string]any{"v": noise + fmt.Sprint(i)})
	}
	a := startAgent(t, setup{upstream: srv.addr, responder: noPrompt(t)})
	token := srv.root.Token()
	direct, _ := cli(t, srv.addr, "VAULT_TOKEN="+token)
	through, _ := cli(t, a.addr, "VAULT_TOKEN="+token)
	dir := t.TempDir()
	one, two := filepath.Join(dir, "direct"), filepath.Join(dir, "through")
	direct.ok(t, "operator", "raft", "snapshot", "save", one)
	through.ok(t, "operator", "raft", "snapshot", "save", two)
	equal(t, "members", snapshot(t, two), snapshot(t, one))
	// Back in, through stepup: a body far over what is kept for repetition.
	through.ok(t, "operator", "raft", "snapshot", "restore", "-force", two)
	eventually(t, "the server is back", func() bool {
		_, err := srv.root.Logical().Read("bulk/0")
		return err == nil
	})

	t.Run("the server is killed", func(t *testing.T) {
		srv.stop()
		g := request("GET", "bulk/0", token).send(t, a.addr)
		if errs := g.errors(t); g.status != http.StatusBadGateway || len(errs) != 1 || !strings.HasPrefix(errs[0], "stepup: ") {
			t.Errorf("status %d, errors %q", g.status, errs)
		}
		if !strings.HasPrefix(g.header.Get("Content-Type"), "application/json") {
			t.Errorf("Content-Type %q", g.header.Get("Content-Type"))
		}
		through.run(t, "read", "bulk/0").wantFailure(t, 2, "stepup: ")
	})
	t.Run("and started again", func(t *testing.T) {
		check(t, srv.start())
		sealed := request("GET", "bulk/0", token)
		wantSame(t, sealed.send(t, srv.addr), sealed.send(t, a.addr))
		srv.unseal(t, key)
		g := sealed.send(t, a.addr)
		g.wantPlain(t, 200)
		contains(t, "the value", g.body, noise)
	})
}

// A large answer and a large body, of which nothing is on a rule's path.
func TestRelayLarge(t *testing.T) {
	srv, a, token, kv := newRelay(t)
	request("POST", "secret/data/"+kv+"/big", token).with(bigBody()).send(t, a.addr).wantPlain(t, 200)
	read := request("GET", "secret/data/"+kv+"/big", token)
	wantSame(t, read.send(t, srv.addr), read.send(t, a.addr))
}

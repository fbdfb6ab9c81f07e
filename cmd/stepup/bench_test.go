package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

const gigabyte = 1 << 30

// BenchmarkGigabyte sends 1 GiB up and 1 GiB down through the real program, in
// a process of its own, and reports the most memory that it ever had (VmHWM).
func BenchmarkGigabyte(b *testing.B) {
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil || r.Method == http.MethodPut && n != gigabyte {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if r.Method == http.MethodGet {
			_, _ = io.Copy(w, io.LimitReader(zeros{}, gigabyte))
		}
	}))
	defer vault.Close()
	address, pid := benchAgent(b, vault.URL)
	for b.Loop() {
		transfer(b, http.MethodGet, address)
		transfer(b, http.MethodPut, address)
	}
	b.ReportMetric(peakMiB(b, pid), "peak-MiB")
	b.ReportMetric(2*gigabyte/1e6/(b.Elapsed().Seconds()/float64(b.N)), "MB/s")
	b.ReportMetric(0, "ns/op")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func transfer(b *testing.B, method, address string) {
	var body io.Reader
	if method == http.MethodPut {
		body = io.LimitReader(zeros{}, gigabyte)
	}
	req, err := http.NewRequest(method, "http://"+address+"/v1/sys/storage/raft/snapshot", body)
	if err != nil {
		b.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || method == http.MethodGet && n != gigabyte {
		b.Fatalf("%s: %d, %d bytes, %v", method, resp.StatusCode, n, err)
	}
}

// benchAgent builds and starts the program.
func benchAgent(b *testing.B, vault string) (address string, pid int) {
	dir := b.TempDir()
	program := filepath.Join(dir, "stepup")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address = ln.Addr().String()
	ln.Close()
	file := filepath.Join(dir, "stepup.hcl")
	text := fmt.Sprintf("vault \"bench\" { address = %q }\nlistener \"tcp\" { address = %q }\n", vault, address)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(program, "agent", "--config", file)
	cmd.Env = append(os.Environ(), "STEPUP_RUNTIME_DIR="+filepath.Join(dir, "run"))
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			b.Errorf("agent: %v: %s", err, log.String())
		}
	})
	for range 100 {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return address, cmd.Process.Pid
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.Fatal("agent does not listen")
	return "", 0
}

// peakMiB reads the high-water mark of a process's memory.
func peakMiB(b *testing.B, pid int) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip("needs /proc to read the peak memory of the agent")
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		b.Fatal("no VmHWM")
	}
	kib, _ := strconv.Atoi(string(m[1]))
	return float64(kib) / 1024
}
